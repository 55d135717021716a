"""How the bytes of a call reach a server: the `Transport` seam, and gRPC behind it."""

import os
import threading
import time
from concurrent.futures import CancelledError, Future
from typing import Protocol

import grpc

from tfllm.client.addresses import Address
from tfllm.client.config import ConnectionConfig
from tfllm.client.endpoint import Endpoint
from tfllm.client.hedging import hedged
from tfllm.client.lookups import in_background
from tfllm.errors import ServerUnavailable


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
        target: gRPC's name of the servers it leads to.
        generation: the number of its connections.
    """

    def __init__(self, channel: grpc.Channel, target: str, generation: int) -> None:
        self.under_way = 0
        self.channel = channel
        self.target = target
        self.generation = generation
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._counting = threading.Condition(threading.Lock())

    def method(self, name: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
        """Return the callable of a method: bytes in, bytes out."""
        if name not in self._methods:
            self._methods[name] = self.channel.unary_unary(name, None, None)
        return self._methods[name]

    def count(self, change: int) -> None:
        """Take note of calls that begin or end."""
        with self._counting:
            self.under_way += change
            if not self.under_way:
                self._counting.notify_all()

    def close(self, grace: float | None = None) -> None:
        """Close the channel once the calls under way are done, or `grace` seconds have passed."""
        with self._counting:
            self._counting.wait_for(lambda: not self.under_way, grace)
        self.channel.close()


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
        self._endpoint = Endpoint(address, config)
        self._process = os.getpid()
        self._leaving: dict[int, threading.Lock] = {}
        self._opening = threading.Lock()
        self._connection: _Connection | None = None
        self._retired: set[_Connection] = set()
        self._looking: Future[str] | None = None
        self._inherited: list[_Connection] = []
        self._closed = False

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        endpoint = self._endpoint
        metadata, timeout = endpoint.request(timeout)
        connection, timeout = self._joined(timeout)
        try:
            send = connection.method(method)
            if endpoint.hedges(method):
                answer = hedged(lambda left: send.future(request, timeout=left, metadata=metadata), timeout, endpoint)
            else:
                answer = send(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            raise endpoint.error(error, metadata, connection.generation) from error
        except (ValueError, grpc.FutureCancelledError) as error:  # grpc's ways to say that the channel was closed
            raise endpoint.closed() from error
        finally:
            connection.count(-1)
        endpoint.answered(connection.generation)
        return answer

    def close(self, grace: float = 0.0) -> None:
        """Close the channels once the calls under way are done, or `grace` seconds have passed.

        Calls that still wait for the servers' names are ended at once.
        """
        if self._process != os.getpid():
            self._closed = True  # what is open is the parent's
            return
        with self._opening:
            self._closed = True
            left = [*self._retired, *([] if self._connection is None else [self._connection])]
            if self._looking is not None:
                self._looking.cancel()
        end = time.monotonic() + grace
        for connection in left:
            connection.close(max(0.0, end - time.monotonic()))

    def _joined(self, timeout: float | None) -> tuple[_Connection, float | None]:
        """Return the connection, with one call more on it, and what is left of the call's timeout."""
        if self._process != os.getpid():
            with self._leaving.setdefault(os.getpid(), threading.Lock()):
                self._leave_parent()
        connection = self._standing(None)
        if connection is not None:
            return connection, timeout
        start = time.monotonic()
        connection = self._standing(self._target(timeout))
        assert connection is not None, "there is a target"
        return connection, None if timeout is None else max(0.0, timeout - (time.monotonic() - start))

    def _standing(self, target: str | None) -> _Connection | None:
        """Return the connection, with one call more on it; without one, one to the target, if that is known."""
        with self._opening:
            if self._closed:
                raise self._endpoint.closed()
            if self._connection is None:
                if target is None:
                    return None
                self._connection = self._open(target)
            elif self._endpoint.leave():
                self._replace(self._connection, self._connection.target)
            if self._endpoint.look_up_due():
                threading.Thread(target=self._follow, daemon=True).start()
            self._connection.count(1)
            return self._connection

    def _open(self, target: str) -> _Connection:
        return _Connection(self._endpoint.open(grpc, target), target, self._endpoint.generation)

    def _target(self, timeout: float | None) -> str:
        """Return gRPC's name of the servers; all calls wait for one look-up, and none longer than it may take."""
        servers = self._endpoint.servers
        if not servers.named:
            return servers.target()
        with self._opening:
            if self._closed:
                raise self._endpoint.closed()
            if self._looking is None or self._looking.done():  # one that came too late may be old
                self._looking = in_background(servers.target)
            looking = self._looking
        try:
            return looking.result(timeout)
        except TimeoutError:
            raise self._endpoint.names_too_slow(timeout) from None
        except CancelledError:
            raise self._endpoint.closed() from None

    def _follow(self) -> None:
        """Look the names up; if they stand for other addresses than before, go there."""
        with self._opening:
            before = self._connection
        target = None if before is None else self._endpoint.moved(before.target)
        with self._opening:
            if target is not None and self._connection is not None and not self._closed:
                self._replace(self._connection, target)

    def _replace(self, old: _Connection, target: str) -> None:
        """Open another channel; the old one is closed when its calls are done."""
        self._connection = self._open(target)
        self._retired.add(old)
        threading.Thread(target=self._retire, args=(old,), daemon=True).start()

    def _retire(self, old: _Connection) -> None:
        old.close()
        with self._opening:
            self._retired.discard(old)

    def _leave_parent(self) -> None:
        """Start anew in a forked process: its parent's connections are kept, because closing one would close both."""
        if self._process == os.getpid():
            return  # another thread was first
        inherited = [*self._retired, *([] if self._connection is None else [self._connection])]
        if any(connection.under_way for connection in inherited):
            raise ServerUnavailable(
                "This process was forked while calls were under way, so gRPC cannot be used in it. "
                "Fork between calls, or start processes with multiprocessing's 'spawn'.",
                address=self._endpoint.servers.shown,
            )
        self._inherited += inherited
        self._connection, self._looking, self._retired = None, None, set()
        self._opening = threading.Lock()  # another thread of the parent may have held the old one
        self._process = os.getpid()
