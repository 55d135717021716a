"""The one place where an exception of a handler becomes a gRPC status."""

import logging
from collections.abc import Callable
from typing import Any

import grpc

from tfllm.errors import CallError, ServerError, Unimplemented

logger = logging.getLogger(__name__)
_CODES = {code.name: code for code in grpc.StatusCode}
_MAX_BYTES = 1024  # of a message, as in TensorFlow Serving: the status travels in headers


class StatusInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Answer each exception with its status."""

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler of a call with one request and one response."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            _answering(handler.unary_unary, handler_call_details.method),
            handler.request_deserializer,
            handler.response_serializer,
        )


def _answering(behavior: Callable[[Any, grpc.ServicerContext], Any], method: str) -> Callable[..., Any]:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return behavior(request, context)
        except CallError as failure:
            error = failure
        except NotImplementedError as failure:
            error = Unimplemented(str(failure))
        except Exception as failure:
            logger.exception("%s failed", method)
            error = ServerError(f"{type(failure).__name__}: {failure}")
        context.abort(_CODES.get(error.code, grpc.StatusCode.UNKNOWN), _cut(error.details))

    return answer


def _cut(details: str) -> str:
    data = details.encode("utf-8", "replace")
    return details if len(data) <= _MAX_BYTES else data[:_MAX_BYTES].decode("utf-8", "ignore") + "...TRUNCATED"
