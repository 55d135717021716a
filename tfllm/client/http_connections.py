"""httpx's connections of one process, for calls that have one deadline each, and that end when it is closed.

httpx gives its timeout to each of a call's reads and writes anew, so that a server that sends drop by drop holds a call
for any time. Threads therefore have connections here whose reads and writes share the call's deadline. In an event loop
the call as a whole is given up.
"""

import asyncio
import contextlib
import contextvars
import functools
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

import httpcore
import httpx

from tfllm.client.lookups import in_background

UNREACHED = (httpx.ConnectError, httpcore.ConnectError)
"""There is no connection, and so nobody has seen the request."""

FAILED = (httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, RuntimeError)
"""What a request may end with; RuntimeError is httpx's way to say that it is closed."""

LATE = (httpx.TimeoutException, httpcore.TimeoutException)

_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0)
_CONNECT_SECONDS = 5.0  # for an address that is not the last one of its host
_PIECE = 2**16  # bytes that are written before the deadline is looked at again

T = TypeVar("T")

_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("_deadline", default=None)


class Connections:
    """Connections for threads, with the calls under way.

    Args:
        options: those of `httpx.Client`: `base_url`, and `verify` as httpx has it.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        verify = options["verify"]
        context = verify if isinstance(verify, ssl.SSLContext) else httpx.create_ssl_context(trust_env=False)
        self._network = _Network()
        self.http = httpx.Client(**{**options, "transport": _Transport(context, self._network)})
        self._counting = threading.Condition()
        self._under_way = 0
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether the grace of the calls under way is over."""
        return self._ended.is_set()

    @contextlib.contextmanager
    def call(self, end: float | None) -> Iterator[None]:
        """Count a call as under way, and have its reads and writes end at this moment of the monotonic clock."""
        with self._counting:
            self._under_way += 1
        token = _deadline.set(end)
        try:
            yield
        finally:
            _deadline.reset(token)
            with self._counting:
                self._under_way -= 1
                self._counting.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the grace."""
        self._ended.wait(seconds)

    def close(self, grace: float) -> None:
        """Close the connections once the calls under way are done, or `grace` seconds have passed."""
        with self._counting:
            self._counting.wait_for(lambda: not self._under_way, grace)
        self._ended.set()
        self._network.end()
        self.http.close()


class AsyncConnections:
    """Connections for an event loop, with the calls under way.

    Args:
        options: those of `httpx.AsyncClient`.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.http = httpx.AsyncClient(**options, limits=_LIMITS)
        self._under_way: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()
        self.ended = False

    @contextlib.asynccontextmanager
    async def call(self, seconds: float | None) -> AsyncIterator[None]:
        """Count a call as under way, and give it up after so many seconds: with a TimeoutError."""
        async with asyncio.timeout(seconds) as limit:
            self._under_way.add(limit)
            self._idle.clear()
            try:
                yield
            finally:
                self._under_way.discard(limit)
                if not self._under_way:
                    self._idle.set()

    async def close(self, grace: float) -> None:
        """Close the connections once the calls under way are done, or `grace` seconds have passed."""
        if self._under_way:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), grace)
        self.ended = True
        for limit in self._under_way:
            if not limit.expired():
                limit.reschedule(0.0)  # it is over
        await self.http.aclose()


def _left(timeout: float | None) -> float | None:
    """Return the seconds that the call has left, at most those of httpx.

    Raises:
        httpcore.TimeoutException: there are none.
    """
    end = _deadline.get()
    if end is None:
        return timeout
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the call's time is over")
    return left if timeout is None else min(left, timeout)


class _Transport(httpx.BaseTransport):
    """httpx's transport, on connections with deadlines.

    Args:
        context: the TLS settings.
        network: what opens connections.
    """

    def __init__(self, context: ssl.SSLContext, network: httpcore.NetworkBackend) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=_LIMITS.max_connections,
            max_keepalive_connections=_LIMITS.max_keepalive_connections,
            keepalive_expiry=_LIMITS.keepalive_expiry,
            network_backend=network,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        body = _Body(answer.stream)
        return httpx.Response(answer.status, headers=answer.headers, stream=body, extensions=answer.extensions)

    def close(self) -> None:
        """Close the connections, also those with requests on them."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()


class _Network(httpcore.NetworkBackend):
    """Opens connections with deadlines, until it is ended."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()
        self._lock = threading.Lock()
        self._waited_for: set[Future[Any]] = set()
        self._ended = False

    def end(self) -> None:
        """End the waiting for connections and names; there will be no others."""
        with self._lock:
            self._ended = True
            waited_for = list(self._waited_for)
        for future in waited_for:
            future.cancel()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of a host's addresses that takes it; one that keeps silent leaves the others time."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        addresses = self._look_up(host, port, _left(timeout))
        for place, address in enumerate(addresses):
            seconds = _share(_left(timeout), len(addresses) - place)
            connect = functools.partial(self._inner.connect_tcp, address, port, seconds, local_address, socket_options)
            try:
                return _Stream(self._waiting(connect, None))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _look_up(self, host: str, port: int, timeout: float | None) -> list[str]:
        look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            return [str(entry[4][0]) for entry in self._waiting(look_up, timeout)]
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"the name {host} was not found in time") from None
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error

    def _waiting(self, work: Callable[[], T], timeout: float | None) -> T:
        """Do work in the background, and wait for it until it is there, the time is over, or this is ended."""
        with self._lock:
            if self._ended:
                raise httpcore.ConnectError("the connections are closed")
            future = in_background(work)
            self._waited_for.add(future)
        try:
            return future.result(timeout)
        except CancelledError:
            raise httpcore.ConnectError("the connections are closed") from None
        finally:
            with self._lock:
                self._waited_for.discard(future)


def _share(left: float | None, addresses: int) -> float | None:
    """Return the seconds that one of so many addresses has to take a connection."""
    if addresses == 1:
        return left
    return _CONNECT_SECONDS if left is None else min(_CONNECT_SECONDS, left / addresses)


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes share the deadline of the call that has it.

    Args:
        inner: the connection.
    """

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the bytes that are there, at least one unless the other side has closed."""
        return self._inner.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes."""
        for start in range(0, len(buffer), _PIECE):
            self._inner.write(buffer[start : start + _PIECE], _left(timeout))

    def close(self) -> None:
        """Close the connection; a thread that waits for its bytes waits no longer."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._inner.get_extra_info("socket"), socket.SHUT_RDWR)
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Encrypt the connection."""
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks about the connection."""
        return self._inner.get_extra_info(info)
