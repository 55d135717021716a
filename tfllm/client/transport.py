"""How the bytes of a call reach a server: the `Transport` seam, and gRPC behind it."""

from typing import Any, Protocol

import grpc

from tfllm.errors import CallError, Cancelled, ConfigError, call_error

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

_UNREACHABLE = ("failed to connect to all addresses", "DNS resolution failed", "Socket closed", "Connection reset")


class Transport(Protocol):
    """What carries a call. Threads may use one transport at the same time."""

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response.

        Args:
            method: the full method name, for example `tfllm.wire.messages.PREDICT`.
            request: the request's bytes.
            timeout: the seconds until the caller gives up; `None` waits for ever.

        Raises:
            CallError: the call failed.
        """

    def close(self) -> None:
        """Give the connections back; calls under way end with `Cancelled`."""


class GrpcTransport:
    """A gRPC channel to one server, opened at the first call and reopened after a break.

    Args:
        address: `host:port`, or another name that gRPC knows (`dns:///...`, `unix:...`).

    Raises:
        ConfigError: the address is none that gRPC can reach.
    """

    def __init__(self, address: str) -> None:
        _check_address(address)
        self._address = address
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        try:
            return self._method(method)(request, timeout=timeout)
        except grpc.RpcError as error:
            raise _error(error, self._address) from error
        except ValueError as error:  # grpc's way to say that the channel was closed
            raise Cancelled("The client is closed.", address=self._address) from error

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _method(self, name: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
        if name not in self._methods:
            self._methods[name] = self._channel.unary_unary(name, None, None)  # bytes in, bytes out
        return self._methods[name]


def _check_address(address: str) -> None:
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"Expected the address of the gRPC port, for example 'localhost:8500'. Received: '{address}' "
            "(a REST address; TensorFlow Serving has gRPC on 8500 and REST on 8501)."
        )
    if ":" not in address:
        raise ConfigError(f"Expected an address with a port, for example 'localhost:8500'. Received: '{address}'.")


def _error(error: Any, address: str) -> CallError:
    """Return the error of a gRPC status; what the server said stays word for word."""
    code, details = error.code().name, error.details() or ""
    if code == "UNAVAILABLE" and details.startswith(_UNREACHABLE):
        details = (
            f"No server can be reached at {address}. Check that it runs, that the port is its gRPC port "
            f"(8500 unless set; REST is another) and that no proxy or firewall is between. gRPC says: {details}"
        )
    return call_error(code, details, address=address)
