"""The one place where a gRPC call is let in, becomes an event, and where an exception becomes a gRPC status.

gRPC for Python waits for the message of a call in the thread that is to work on it, for as long as the caller likes, if
it is told that there is one message. So here it is told of a stream of messages: a call is let in or refused before its
message is read, and one whose message does not come is ended.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from tfllm.errors import CallError, Cancelled, ConfigError, Overloaded, ServerError, Timeout, Unimplemented
from tfllm.server.access import Access
from tfllm.server.observers import Observers, RequestEvent, set_event
from tfllm.server.polling import Poller
from tfllm.server.pools import CountingPool

logger = logging.getLogger(__name__)
_CODES = {code.name: code for code in grpc.StatusCode}
_MAX_BYTES = 1024  # of a message, as in TensorFlow Serving: the status travels in headers
_HEALTH = "/grpc.health."
_MAX_CHECKS = 16
_MAX_WATCHERS = 64
_MAX_STREAMS = 16
_NEVER = 365 * 86_400.0  # what some callers send who have no deadline is more than a lock can wait for


class Arrivals:
    """Waits for the messages of calls, and cancels calls whose message does not come.

    Args:
        seconds: how long a message may take; 0 for as long as the caller likes.

    Raises:
        ConfigError: it is below 0.
    """

    def __init__(self, seconds: float) -> None:
        if seconds < 0:
            raise ConfigError(f"Expected grpc_message_seconds of at least 0. Received: {seconds}.")
        self._seconds = seconds
        self._since: dict[grpc.ServicerContext, float] = {}  # the one that waits longest first
        self._lock = threading.Lock()
        self._poller: Poller | None = None

    def next(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """Return the next message of a call.

        Raises:
            StopIteration: there is none.
            Timeout: it did not come; the call has been cancelled.
            grpc.RpcError: the caller has gone.
        """
        with self._lock:
            self._since[context] = time.monotonic()
            if self._poller is None and self._seconds:
                self._poller = Poller(self._cancel_late, min(1.0, self._seconds / 10), "tfllm-arrivals")
        try:
            return next(requests)
        except (grpc.RpcError, StopIteration) as error:  # which of the two a cancelled call gives is a matter of time
            if context in self._since:
                raise
            raise Timeout(f"The message of the request did not come within {self._seconds:g} s.") from error
        finally:
            with self._lock:
                self._since.pop(context, None)

    def stop(self) -> None:
        """Cancel no more calls."""
        if self._poller is not None:
            self._poller.end()

    def _cancel_late(self) -> None:
        late, end = [], time.monotonic() - self._seconds
        with self._lock:
            for context, since in self._since.items():
                if since > end:
                    break
                late.append(context)
            for context in late:
                del self._since[context]
        for context in late:
            context.cancel()


class StatusInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Answer each call with one request and one response, exceptions with their status, and tell the observers.

    Args:
        observers: who is told.
        access: who is let in.
        workers: the threads that work on requests, if only so many may wait for them.
        max_waiting: how many may.
        message_seconds: how long the message of a call may take; 0 for as long as the caller likes.

    Attributes:
        pools: the threads beside the workers, which load does not reach: for health checks, for those who watch
            health (one each; further ones wait), for refusals, and for streams.
    """

    def __init__(
        self,
        observers: Observers,
        access: Access | None = None,
        workers: CountingPool | None = None,
        max_waiting: int = 0,
        message_seconds: float = 20.0,
    ) -> None:
        self._observers = observers
        self._access = access or Access()
        self._workers = workers
        self._max_waiting = max_waiting
        self._arrivals = Arrivals(message_seconds)
        self._checks = ThreadPoolExecutor(_MAX_CHECKS, thread_name_prefix="tfllm-health")
        self._watchers = ThreadPoolExecutor(_MAX_WATCHERS, thread_name_prefix="tfllm-watch")
        self._refusals = ThreadPoolExecutor(2, thread_name_prefix="tfllm-refuse")
        self._streams = ThreadPoolExecutor(_MAX_STREAMS, thread_name_prefix="tfllm-stream")
        self.pools = (self._checks, self._watchers, self._refusals, self._streams)

    def stop(self) -> None:
        """End the threads, once the server has been stopped."""
        self._arrivals.stop()
        for pool in self.pools:
            pool.shutdown(wait=False)

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler of a call."""
        handler, method = continuation(handler_call_details), handler_call_details.method
        if handler is None:
            return None
        if method.startswith(_HEALTH):
            return self._stream(handler, method, self._checks if handler.unary_unary else self._watchers)
        event = RequestEvent(method.rpartition("/")[2], "GRPC")
        event.metadata = _texts(handler_call_details.invocation_metadata or ())
        if handler.unary_unary is None:
            return self._checked_stream(handler, method, event)
        if self._workers is not None and self._workers.full(self._max_waiting):
            return grpc.stream_unary_rpc_method_handler(_on(self._refusals, self._answering(_full, method, event)))
        return grpc.stream_unary_rpc_method_handler(self._answering(handler, method, event))

    def _answering(self, handler: Any, method: str, event: RequestEvent) -> Callable[..., bytes]:
        def answer(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            response = b""
            _begin(event, context)
            try:
                if not context.is_active():
                    raise _gone()
                self._access.admit(event)
                if handler is _full:
                    raise Overloaded("Too many requests wait for a worker.")
                data = self._message(requests, method, context)
                event.request_bytes = len(data)
                event.request = _parse(handler.request_deserializer, data)
                event.response = handler.unary_unary(event.request, context)
                response = _written(handler.response_serializer, event.response)
            except CallError as failure:
                _fail(event, failure)
            except NotImplementedError as failure:
                _fail(event, Unimplemented(str(failure)))
            except grpc.RpcError:
                _fail(event, _gone())
            except Exception as failure:
                logger.exception("%s failed", event.method)
                _fail(event, ServerError(f"{type(failure).__name__}: {failure}"))
            event.response_bytes = len(response)
            self._observers.tell(event)
            set_event(None)
            if self._workers is not None:
                self._workers.leave()
            if event.status != "OK":
                context.abort(_CODES.get(event.status, grpc.StatusCode.UNKNOWN), _cut(event.message))
            return response

        return answer

    def _message(self, requests: Iterator[Any], method: str, context: grpc.ServicerContext) -> Any:
        try:
            return self._arrivals.next(requests, context)
        except StopIteration:  # the words of gRPC
            raise Unimplemented(f'"{method}" requires exactly one request message.') from None

    def _checked_stream(self, handler: Any, method: str, event: RequestEvent) -> Any:
        """Let a stream (reflection) pass, or put one in its place that is refused."""
        try:
            self._access.admit(event)
        except CallError as error:
            code, details = _CODES[error.code], error.details
            return grpc.stream_stream_rpc_method_handler(
                _on(self._refusals, lambda requests, context: context.abort(code, details))
            )
        return self._stream(handler, method, self._streams)

    def _stream(self, handler: Any, method: str, pool: ThreadPoolExecutor) -> Any:
        """Move a handler to the threads of a pool, and end its calls whose messages do not come."""
        behavior = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        read, write = handler.request_deserializer, handler.response_serializer

        def run(requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            if handler.request_streaming:
                return behavior(self._messages(requests, read, context), context)
            try:
                request = _parse(read, self._message(requests, method, context))
            except CallError as error:
                context.abort(_CODES[error.code], error.details)
            return behavior(request, context)

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(_on(pool, run), None, write)
        return grpc.stream_unary_rpc_method_handler(_on(pool, run), None, write)

    def _messages(self, requests: Iterator[bytes], read: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        while True:
            try:
                message = _parse(read, self._arrivals.next(requests, context))
            except StopIteration:
                return
            except CallError as error:
                context.abort(_CODES[error.code], error.details)
            yield message


def _on(pool: ThreadPoolExecutor, behavior: Callable[..., Any]) -> Callable[..., Any]:
    def run(requests: Any, context: grpc.ServicerContext) -> Any:
        return behavior(requests, context)

    setattr(run, "experimental_thread_pool", pool)  # noqa: B010  (gRPC's name for it)
    return run


_full = object()
"""Stands where the handler would, had there been room."""


def _begin(event: RequestEvent, context: grpc.ServicerContext) -> None:
    set_event(event)
    event.given_up = lambda: not context.is_active()
    event.caller = peer_name(context.peer())
    now = time.monotonic()
    event.queue_seconds = now - event.arrived
    left = context.time_remaining()
    if left is not None and left < _NEVER:
        event.deadline = now + left


def _parse(deserializer: Callable[[bytes], Any] | None, data: bytes) -> Any:
    try:
        return data if deserializer is None else deserializer(data)
    except DecodeError as error:  # the words of gRPC
        raise ServerError("Exception deserializing request!") from error


def _written(serializer: Callable[[Any], bytes] | None, response: Any) -> bytes:
    data: bytes = response if serializer is None else serializer(response)
    return data


def _gone() -> CallError:
    return Cancelled("The caller gave the request up.")


def _fail(event: RequestEvent, failure: CallError) -> None:
    event.status, event.message, event.response = failure.code, failure.details, None


def _texts(metadata: Sequence[tuple[str, str | bytes]]) -> dict[str, str]:
    return {name: value for name, value in metadata if isinstance(value, str)}


def peer_name(peer: str) -> str:
    """Return the address of a gRPC peer without its port: `ipv4:127.0.0.1:3401` is `127.0.0.1`."""
    kind, _, rest = peer.partition(":")
    return rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "") if kind in ("ipv4", "ipv6") else kind


def _cut(details: str) -> str:
    data = details.encode("utf-8", "replace")
    return details if len(data) <= _MAX_BYTES else data[:_MAX_BYTES].decode("utf-8", "ignore") + "...TRUNCATED"
