"""How the bytes of a call reach a server from an event loop: the `AsyncTransport` seam, and grpc.aio behind it."""

import asyncio
import os
from typing import Protocol

import grpc
import grpc.aio

from tfllm.client import channels
from tfllm.client.addresses import Address, parse_address
from tfllm.client.config import ConnectionConfig
from tfllm.errors import Cancelled, ConfigError


class AsyncTransport(Protocol):
    """What carries a call in an event loop; see `Transport`."""

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""

    async def close(self, grace: float = 0.0) -> None:
        """Refuse further calls, give those under way `grace` seconds, then end them with `Cancelled`."""


class GrpcAioTransport:
    """A grpc.aio channel to one or several servers, opened at the first call, in that call's event loop.

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
        self._channel: grpc.aio.Channel | None = None
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._closed = False

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        send = self._method(method)
        metadata, timeout = channels.request_metadata(self._config, timeout)
        try:
            return await send(request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise channels.error_of(error, self._servers.shown) from error
        except grpc.aio.UsageError as error:  # grpc's way to say that the channel was closed
            raise self._closed_error() from error
        except asyncio.CancelledError as error:
            if not self._closed:
                raise  # the caller was cancelled, not the channel closed
            raise self._closed_error() from error

    async def close(self, grace: float = 0.0) -> None:
        """Close the channel once the calls under way are done, or `grace` seconds have passed."""
        self._closed = True
        if self._channel is not None and self._owner is not None and self._owner[0] == os.getpid():
            await self._channel.close(grace or None)

    def _method(self, name: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
        if self._closed:
            raise self._closed_error()
        owner = (os.getpid(), asyncio.get_running_loop())
        if self._owner is not None and self._owner != owner:
            other = "process" if self._owner[0] != owner[0] else "event loop"
            raise ConfigError(f"Expected calls from the {other} of the first call. Make an AsyncClient for each.")
        if self._channel is None:
            self._owner, self._channel = owner, self._open()
        if name not in self._methods:
            self._methods[name] = self._channel.unary_unary(name, None, None)
        return self._methods[name]

    def _open(self) -> grpc.aio.Channel:
        target, options = self._servers.target(), channels.channel_options(self._config, self._servers)
        packing = channels.compression(self._config)
        if self._credentials is None:
            return grpc.aio.insecure_channel(target, options=options, compression=packing)
        return grpc.aio.secure_channel(target, self._credentials, options=options, compression=packing)

    def _closed_error(self) -> Cancelled:
        return Cancelled("The client is closed.", address=self._servers.shown)
