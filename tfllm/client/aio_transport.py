"""How the bytes of a call reach a server from an event loop: the `AsyncTransport` seam, and grpc.aio behind it."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, Protocol

import grpc
import grpc.aio

from tfllm.client.addresses import Address
from tfllm.client.config import ConnectionConfig
from tfllm.client.endpoint import Endpoint
from tfllm.client.hedging import hedged_async
from tfllm.errors import ConfigError


class AsyncTransport(Protocol):
    """What carries a call in an event loop; see `Transport`."""

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""

    async def close(self, grace: float = 0.0) -> None:
        """Refuse further calls, give those under way `grace` seconds, then end them with `Cancelled`."""


class _Connection:
    """A channel with the calls on it.

    Args:
        channel: the channel.
        target: gRPC's name of the servers it leads to.
    """

    def __init__(self, channel: grpc.aio.Channel, target: str) -> None:
        self.under_way = 0
        self.idle = asyncio.Event()
        self.channel = channel
        self.target = target
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {}

    def method(self, name: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
        """Return the callable of a method: bytes in, bytes out."""
        if name not in self._methods:
            self._methods[name] = self.channel.unary_unary(name, None, None)
        return self._methods[name]

    def count(self, change: int) -> None:
        """Take note of calls that begin or end."""
        self.under_way += change
        if not self.under_way:
            self.idle.set()
        else:
            self.idle.clear()

    async def retire(self) -> None:
        """Close the channel once the calls under way are done."""
        try:
            if self.under_way:
                await self.idle.wait()
        finally:
            await self.channel.close(None)


class GrpcAioTransport:
    """A grpc.aio channel to one or several servers, opened at the first call, in that call's event loop.

    Args:
        address: `host:port`, several of them, or another name that gRPC knows (`dns:///...`, `unix:...`).
        config: security, retries, keepalive; the defaults without it.

    Raises:
        ConfigError: the address is none that gRPC can reach, or a token would go over an open network.
    """

    def __init__(self, address: Address, config: ConnectionConfig | None = None) -> None:
        self._endpoint = Endpoint(address, config)
        self._opening = asyncio.Lock()
        self._connection: _Connection | None = None
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._closed = False

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        endpoint = self._endpoint
        metadata, timeout = endpoint.request(timeout)
        connection = self._standing() or await self._opened(timeout)
        if endpoint.look_up_due():
            self._do(self._follow())
        connection.count(1)
        send = connection.method(method)
        try:
            if endpoint.config.hedge_after is None:
                answer = await send(request, timeout=timeout, metadata=metadata)
            else:
                answer = await hedged_async(
                    lambda left: send(request, timeout=left, metadata=metadata), timeout, endpoint
                )
        except grpc.aio.AioRpcError as error:
            raise endpoint.error(error, metadata) from error
        except grpc.aio.UsageError as error:  # grpc's way to say that the channel was closed
            raise endpoint.closed() from error
        except asyncio.CancelledError as error:
            if not self._closed:
                raise  # the caller was cancelled, not the channel closed
            raise endpoint.closed() from error
        finally:
            connection.count(-1)
        endpoint.answered()
        return answer

    async def close(self, grace: float = 0.0) -> None:
        """Close the channel once the calls under way are done, or `grace` seconds have passed."""
        self._closed = True
        for chore in self._chores:
            chore.cancel()
        if self._connection is not None and self._owner is not None and self._owner[0] == os.getpid():
            await self._connection.channel.close(grace or None)

    def _standing(self) -> _Connection | None:
        """Return the connection if there is one; another one where it is to be left."""
        if self._closed:
            raise self._endpoint.closed()
        self._check_owner()
        if self._connection is not None and self._endpoint.leave():
            self._replace(self._connection, self._connection.target)
        return self._connection

    async def _opened(self, timeout: float | None) -> _Connection:
        """Return the first connection."""
        async with self._opening:
            if self._connection is None:
                self._connection = self._open(await self._target(timeout))
            return self._connection

    def _check_owner(self) -> None:
        owner = (os.getpid(), asyncio.get_running_loop())
        if self._owner is None:
            self._owner = owner
        elif self._owner != owner:
            other = "process" if self._owner[0] != owner[0] else "event loop"
            raise ConfigError(f"Expected calls from the {other} of the first call. Make an AsyncClient for each.")

    def _open(self, target: str) -> _Connection:
        return _Connection(self._endpoint.open(grpc.aio, target), target)

    async def _target(self, timeout: float | None) -> str:
        """Return gRPC's name of the servers; looking names up must not take longer than the call may."""
        if not self._endpoint.servers.named:
            return self._endpoint.servers.target()
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._endpoint.servers.target), timeout)
        except TimeoutError:
            raise self._endpoint.names_too_slow(timeout) from None

    async def _follow(self) -> None:
        """Look the names up; if they stand for other addresses than before, go there."""
        if await asyncio.to_thread(self._endpoint.moved):
            target = await asyncio.to_thread(self._endpoint.servers.target)
            if self._connection is not None and not self._closed:
                self._replace(self._connection, target)

    def _replace(self, old: _Connection, target: str) -> None:
        """Open another channel; the old one is closed when its calls are done."""
        self._connection = self._open(target)
        self._do(old.retire())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.ensure_future(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)
