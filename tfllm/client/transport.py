"""How the bytes of a call reach a server: the `Transport` seam, and gRPC behind it."""

import os
import threading
import time
from typing import Protocol

import grpc

from tfllm.client import channels
from tfllm.client.addresses import Address, parse_address
from tfllm.client.config import ConnectionConfig
from tfllm.errors import Cancelled, ServerUnavailable


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

    def close(self, grace: float = 0.0) -> None:
        """Refuse further calls, give those under way `grace` seconds, then end them with `Cancelled`."""


class _Connection:
    """A channel with the calls on it.

    Args:
        channel: the channel.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self.under_way = 0
        self.changed = threading.Condition()
        self.channel = channel
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}

    def method(self, name: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
        """Return the callable of a method: bytes in, bytes out."""
        if name not in self._methods:
            self._methods[name] = self.channel.unary_unary(name, None, None)
        return self._methods[name]


class GrpcTransport:
    """A gRPC channel to one or several servers, opened at the first call and reopened after a break.

    A process forked from this one gets a connection of its own at its first call.

    Args:
        address: `host:port`, several of them, or another name that gRPC knows (`dns:///...`, `unix:...`).
        config: security, retries, keepalive; the defaults without it.

    Raises:
        ConfigError: the address is none that gRPC can reach, or a token would go over an open network.
    """

    def __init__(self, address: Address, config: ConnectionConfig | None = None) -> None:
        self._servers = parse_address(address)
        self._config = config or ConnectionConfig()
        channels.check_token(self._config, self._servers)
        self._credentials = channels.credentials(self._config)
        self._process = os.getpid()
        self._opening = threading.Lock()
        self._connection: _Connection | None = None
        self._inherited: _Connection | None = None
        self._closed = False

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        connection = self._connected()
        metadata, timeout = channels.request_metadata(self._config, timeout)
        with connection.changed:
            self._refuse_if_closed()
            connection.under_way += 1
        try:
            return connection.method(method)(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            raise channels.error_of(error, self._servers.shown) from error
        except ValueError as error:  # grpc's way to say that the channel was closed
            raise self._closed_error() from error
        finally:
            with connection.changed:
                connection.under_way -= 1
                connection.changed.notify_all()

    def close(self, grace: float = 0.0) -> None:
        """Close the channel once the calls under way are done, or `grace` seconds have passed."""
        self._closed = True
        connection = self._connection
        if connection is None or self._process != os.getpid():
            return
        end = time.monotonic() + grace
        with connection.changed:
            while connection.under_way and (left := end - time.monotonic()) > 0:
                connection.changed.wait(left)
        connection.channel.close()

    def _connected(self) -> _Connection:
        if self._process != os.getpid():
            self._leave_parent()
        with self._opening:
            self._refuse_if_closed()
            if self._connection is None:
                self._connection = _Connection(self._open())
            return self._connection

    def _leave_parent(self) -> None:
        """Start anew in a forked process: its parent's connection is kept, because closing it would close both."""
        if self._connection is not None and self._connection.under_way:
            raise ServerUnavailable(
                "This process was forked while calls were under way, so gRPC cannot be used in it. "
                "Fork between calls, or start processes with multiprocessing's 'spawn'.",
                address=self._servers.shown,
            )
        self._inherited, self._connection = self._connection, None
        self._opening = threading.Lock()  # another thread of the parent may have held the old one
        self._process = os.getpid()

    def _open(self) -> grpc.Channel:
        target, options = self._servers.target(), channels.channel_options(self._config, self._servers)
        packing = channels.compression(self._config)
        if self._credentials is None:
            return grpc.insecure_channel(target, options=options, compression=packing)
        return grpc.secure_channel(target, self._credentials, options=options, compression=packing)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> Cancelled:
        return Cancelled("The client is closed.", address=self._servers.shown)
