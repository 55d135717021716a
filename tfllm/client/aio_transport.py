"""How the bytes of a call reach a server from an event loop: the `AsyncTransport` seam, and grpc.aio behind it."""

import asyncio
import contextlib
import os
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Protocol

import grpc
import grpc.aio

from tfllm.client.addresses import Address
from tfllm.client.config import ConnectionConfig
from tfllm.client.endpoint import Endpoint
from tfllm.client.hedging import hedged_async
from tfllm.client.lookups import in_background
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
        generation: the number of its connections.
    """

    def __init__(self, channel: grpc.aio.Channel, target: str, generation: int) -> None:
        self.under_way = 0
        self.idle = asyncio.Event()
        self.channel = channel
        self.target = target
        self.generation = generation
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

    async def close(self, grace: float | None = None) -> None:
        """Close the channel once the calls under way are done, or `grace` seconds have passed."""
        try:
            if self.under_way:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.idle.wait(), grace)
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
        self._connection: _Connection | None = None
        self._retired: set[_Connection] = set()
        self._looking: Future[str] | None = None
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._closed = False

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        endpoint = self._endpoint
        metadata, timeout = endpoint.request(timeout)
        connection = self._standing()
        if connection is None:
            connection, timeout = await self._opened(timeout)
        if endpoint.look_up_due():
            self._do(self._follow())
        connection.count(1)
        try:
            send = connection.method(method)
            if endpoint.hedges(method):
                answer = await hedged_async(
                    lambda left: send(request, timeout=left, metadata=metadata), timeout, endpoint
                )
            else:
                answer = await send(request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise endpoint.error(error, metadata, connection.generation) from error
        except grpc.aio.UsageError as error:  # grpc's way to say that the channel was closed
            raise endpoint.closed() from error
        except asyncio.CancelledError as error:
            if not self._closed or _is_cancelled():
                raise  # the caller was cancelled, not the channel closed
            raise endpoint.closed() from error
        finally:
            connection.count(-1)
        endpoint.answered(connection.generation)
        return answer

    async def close(self, grace: float = 0.0) -> None:
        """Close the channels once the calls under way are done, or `grace` seconds have passed.

        Calls that still wait for the servers' names are ended at once.
        """
        self._closed = True
        if self._owner is None or self._owner[0] != os.getpid():
            return
        if self._looking is not None:
            self._looking.cancel()
        left = [*self._retired, *([] if self._connection is None else [self._connection])]
        try:
            await asyncio.gather(*(connection.close(grace) for connection in left))
        finally:
            for chore in self._chores:
                chore.cancel()

    def _standing(self) -> _Connection | None:
        """Return the connection if there is one; another one where it is to be left."""
        if self._closed:
            raise self._endpoint.closed()
        self._check_owner()
        if self._connection is not None and self._endpoint.leave():
            self._replace(self._connection, self._connection.target)
        return self._connection

    async def _opened(self, timeout: float | None) -> tuple[_Connection, float | None]:
        """Return the first connection, and what is left of the call's timeout."""
        start = time.monotonic()
        target = await self._target(timeout)
        if self._closed:
            raise self._endpoint.closed()
        if self._connection is None:
            self._connection = self._open(target)
        return self._connection, None if timeout is None else max(0.0, timeout - (time.monotonic() - start))

    def _check_owner(self) -> None:
        owner = (os.getpid(), asyncio.get_running_loop())
        if self._owner is None:
            self._owner = owner
        elif self._owner != owner:
            other = "process" if self._owner[0] != owner[0] else "event loop"
            raise ConfigError(f"Expected calls from the {other} of the first call. Make an AsyncClient for each.")

    def _open(self, target: str) -> _Connection:
        return _Connection(self._endpoint.open(grpc.aio, target), target, self._endpoint.generation)

    async def _target(self, timeout: float | None) -> str:
        """Return gRPC's name of the servers; all calls wait for one look-up, and none longer than it may take."""
        servers = self._endpoint.servers
        if not servers.named:
            return servers.target()
        if self._looking is None or self._looking.done():  # one that came too late may be old
            self._looking = in_background(servers.target)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._looking)), timeout)
        except TimeoutError:
            raise self._endpoint.names_too_slow(timeout) from None
        except asyncio.CancelledError:
            if not self._closed or _is_cancelled():
                raise
            raise self._endpoint.closed() from None

    async def _follow(self) -> None:
        """Look the names up; if they stand for other addresses than before, go there."""
        if self._connection is None:
            return
        before = self._connection.target
        target = await asyncio.wrap_future(in_background(lambda: self._endpoint.moved(before)))
        if target is not None and self._connection is not None and not self._closed:
            self._replace(self._connection, target)

    def _replace(self, old: _Connection, target: str) -> None:
        """Open another channel; the old one is closed when its calls are done."""
        self._connection = self._open(target)
        self._retired.add(old)
        self._do(self._retire(old))

    async def _retire(self, old: _Connection) -> None:
        try:
            await old.close()
        finally:
            self._retired.discard(old)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.ensure_future(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)


def _is_cancelled() -> bool:
    """Say whether the caller's task was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
