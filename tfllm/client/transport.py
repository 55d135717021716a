"""How the bytes of a call reach a server: the `Transport` seam, and gRPC behind it."""

import os
import queue
import threading
from typing import Protocol

import grpc

from tfllm.client.addresses import Address
from tfllm.client.config import ConnectionConfig
from tfllm.client.endpoint import Endpoint
from tfllm.client.hedging import hedged
from tfllm.errors import ServerUnavailable, TfllmError


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
    """

    def __init__(self, channel: grpc.Channel, target: str) -> None:
        self.under_way = 0
        self.channel = channel
        self.target = target
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._counting = threading.Lock()
        self._last: threading.Event | None = None

    def method(self, name: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
        """Return the callable of a method: bytes in, bytes out."""
        if name not in self._methods:
            self._methods[name] = self.channel.unary_unary(name, None, None)
        return self._methods[name]

    def count(self, change: int) -> None:
        """Take note of calls that begin or end."""
        with self._counting:
            self.under_way += change
            if self._last is not None and not self.under_way:
                self._last.set()

    def close(self, grace: float | None = None) -> None:
        """Close the channel once the calls under way are done, or `grace` seconds have passed."""
        with self._counting:
            self._last = last = threading.Event()
            if not self.under_way:
                last.set()
        last.wait(grace)
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
        self._opening = threading.Lock()
        self._connection: _Connection | None = None
        self._inherited: _Connection | None = None
        self._closed = False

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        endpoint = self._endpoint
        metadata, timeout = endpoint.request(timeout)
        connection = self._joined(timeout)
        send = connection.method(method)
        try:
            if endpoint.config.hedge_after is None:
                answer = send(request, timeout=timeout, metadata=metadata)
            else:
                answer = hedged(lambda left: send.future(request, timeout=left, metadata=metadata), timeout, endpoint)
        except grpc.RpcError as error:
            raise endpoint.error(error, metadata) from error
        except (ValueError, grpc.FutureCancelledError) as error:  # grpc's ways to say that the channel was closed
            raise endpoint.closed() from error
        finally:
            connection.count(-1)
        endpoint.answered()
        return answer

    def close(self, grace: float = 0.0) -> None:
        """Close the channel once the calls under way are done, or `grace` seconds have passed."""
        self._closed = True
        if self._connection is not None and self._process == os.getpid():
            self._connection.close(grace)

    def _joined(self, timeout: float | None) -> _Connection:
        """Return the connection, with one call more on it."""
        if self._process != os.getpid():
            self._leave_parent()
        with self._opening:
            if self._closed:
                raise self._endpoint.closed()
            if self._connection is None:
                self._connection = self._open(self._target(timeout))
            elif self._endpoint.leave():
                self._replace(self._connection.target)
            if self._endpoint.look_up_due():
                threading.Thread(target=self._follow, daemon=True).start()
            self._connection.count(1)
            return self._connection

    def _open(self, target: str) -> _Connection:
        return _Connection(self._endpoint.open(grpc, target), target)

    def _target(self, timeout: float | None) -> str:
        """Return gRPC's name of the servers; looking names up must not take longer than the call may."""
        servers = self._endpoint.servers
        if not servers.named:
            return servers.target()
        found: queue.SimpleQueue[str | TfllmError] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                found.put(servers.target())
            except TfllmError as error:
                found.put(error)

        threading.Thread(target=look_up, daemon=True).start()
        try:
            target = found.get(timeout=timeout)
        except queue.Empty:
            raise self._endpoint.names_too_slow(timeout) from None
        if isinstance(target, TfllmError):
            raise target
        return target

    def _follow(self) -> None:
        """Look the names up; if they stand for other addresses than before, go there."""
        if self._endpoint.moved():
            target = self._endpoint.servers.target()
            with self._opening:
                if not self._closed:
                    self._replace(target)

    def _replace(self, target: str) -> None:
        """Open another channel; the old one is closed when its calls are done."""
        old, self._connection = self._connection, self._open(target)
        if old is not None:
            threading.Thread(target=old.close, daemon=True).start()

    def _leave_parent(self) -> None:
        """Start anew in a forked process: its parent's connection is kept, because closing it would close both."""
        if self._connection is not None and self._connection.under_way:
            raise ServerUnavailable(
                "This process was forked while calls were under way, so gRPC cannot be used in it. "
                "Fork between calls, or start processes with multiprocessing's 'spawn'.",
                address=self._endpoint.servers.shown,
            )
        self._inherited, self._connection = self._connection, None
        self._opening = threading.Lock()  # another thread of the parent may have held the old one
        self._process = os.getpid()
