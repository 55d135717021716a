"""The one place where a gRPC call is let in, becomes an event, and where an exception becomes a gRPC status."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from tfllm.errors import CallError, Overloaded, ServerError, Unimplemented
from tfllm.server.access import Access
from tfllm.server.observers import Observers, RequestEvent, set_event
from tfllm.server.pools import CountingPool

logger = logging.getLogger(__name__)
_CODES = {code.name: code for code in grpc.StatusCode}
_MAX_BYTES = 1024  # of a message, as in TensorFlow Serving: the status travels in headers
_HEALTH = "/grpc.health."
_MAX_WATCHERS = 64
_NEVER = 365 * 86_400.0  # what some callers send who have no deadline is more than a lock can wait for


class StatusInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Answer each call with one request and one response, exceptions with their status, and tell the observers.

    Args:
        observers: who is told.
        access: who is let in.
        workers: the threads that work on requests, if only so many may wait for them.
        max_waiting: how many may.

    Attributes:
        control: the threads for health checks and refusals, which load does not reach.
        watchers: the threads of those who watch health, one each; further ones wait.
    """

    def __init__(
        self,
        observers: Observers,
        access: Access | None = None,
        workers: CountingPool | None = None,
        max_waiting: int = 0,
    ) -> None:
        self._observers = observers
        self._access = access or Access()
        self._workers = workers
        self._max_waiting = max_waiting
        self.control = ThreadPoolExecutor(2, thread_name_prefix="tfllm-control")
        self.watchers = ThreadPoolExecutor(_MAX_WATCHERS, thread_name_prefix="tfllm-watch")

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler of a call."""
        handler, method = continuation(handler_call_details), handler_call_details.method
        if handler is None:
            return None
        if method.startswith(_HEALTH):
            return self._unloaded(handler)
        event = RequestEvent(method.rpartition("/")[2], "GRPC")
        event.metadata = _texts(handler_call_details.invocation_metadata or ())
        if handler.unary_unary is None:
            return self._checked_stream(handler, event)
        if self._workers is not None and self._workers.waiting >= self._max_waiting:
            refuse = self._answering(_full, event)
            return grpc.unary_unary_rpc_method_handler(_on(self.control, refuse))
        return grpc.unary_unary_rpc_method_handler(self._answering(handler, event))

    def _answering(self, handler: Any, event: RequestEvent) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
            _begin(event, data, context)
            response = b""
            try:
                self._access.admit(event)
                event.request = _parse(handler.request_deserializer, data)
                event.response = handler.unary_unary(event.request, context)
                response = _written(handler.response_serializer, event.response)
            except CallError as failure:
                _fail(event, failure)
            except NotImplementedError as failure:
                _fail(event, Unimplemented(str(failure)))
            except Exception as failure:
                logger.exception("%s failed", event.method)
                _fail(event, ServerError(f"{type(failure).__name__}: {failure}"))
            event.response_bytes = len(response)
            self._observers.tell(event)
            set_event(None)
            if event.status != "OK":
                context.abort(_CODES.get(event.status, grpc.StatusCode.UNKNOWN), _cut(event.message))
            return response

        return answer

    def _checked_stream(self, handler: Any, event: RequestEvent) -> Any:
        """Let a stream (reflection) pass, or put one in its place that is refused."""
        try:
            self._access.admit(event)
        except CallError as error:
            code, details = _CODES[error.code], error.details
            return grpc.stream_stream_rpc_method_handler(
                _on(self.control, lambda requests, context: context.abort(code, details))
            )
        return handler

    def _unloaded(self, handler: Any) -> Any:
        """Move a handler of health checks to the threads that load does not reach."""
        if handler.unary_unary is not None:
            return handler._replace(unary_unary=_on(self.control, handler.unary_unary))
        if handler.unary_stream is not None:
            return handler._replace(unary_stream=_on(self.watchers, handler.unary_stream))
        return handler


def _on(pool: ThreadPoolExecutor, behavior: Callable[..., Any]) -> Callable[..., Any]:
    def run(request: Any, context: grpc.ServicerContext) -> Any:
        return behavior(request, context)

    setattr(run, "experimental_thread_pool", pool)  # noqa: B010  (gRPC's name for it)
    return run


class _Full:
    """Stands where the handler would, had there been room."""

    request_deserializer = None
    response_serializer = None

    @staticmethod
    def unary_unary(request: bytes, context: grpc.ServicerContext) -> bytes:
        raise Overloaded("Too many requests wait for a worker.")


_full = _Full()


def _begin(event: RequestEvent, data: bytes, context: grpc.ServicerContext) -> None:
    set_event(event)
    event.request_bytes = len(data)
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
