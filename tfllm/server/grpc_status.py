"""The one place where a gRPC request becomes an event, and an exception of a handler a gRPC status."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from tfllm.errors import CallError, ServerError, Unimplemented
from tfllm.server.observers import Observers, RequestEvent, set_event

logger = logging.getLogger(__name__)
_CODES = {code.name: code for code in grpc.StatusCode}
_MAX_BYTES = 1024  # of a message, as in TensorFlow Serving: the status travels in headers


class StatusInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Answer each call with one request and one response, exceptions with their status, and tell the observers.

    Args:
        observers: who is told.
    """

    def __init__(self, observers: Observers) -> None:
        self._observers = observers

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler of a call; those of other services and streams stay as they are."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None or handler_call_details.method.startswith("/grpc.health."):
            return handler
        service, _, method = handler_call_details.method.rpartition("/")
        event = RequestEvent(method, "GRPC", metadata=_texts(handler_call_details.invocation_metadata or ()))
        return grpc.unary_unary_rpc_method_handler(self._answering(handler, event))

    def _answering(self, handler: Any, event: RequestEvent) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
            _begin(event, data, context)
            response = b""
            try:
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


def _begin(event: RequestEvent, data: bytes, context: grpc.ServicerContext) -> None:
    set_event(event)
    event.request_bytes = len(data)
    event.given_up = lambda: not context.is_active()
    event.caller = event.caller or peer_name(context.peer())
    now = time.monotonic()
    event.queue_seconds = now - event.arrived
    left = context.time_remaining()
    if left is not None:
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
