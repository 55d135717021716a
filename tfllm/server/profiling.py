"""TensorFlow's ProfilerService: a trace of what the process computes while it serves, for TensorBoard.

Another server would write the trace where the request says. This one hands it to the caller, which writes it itself: a
caller does not choose the files of the server.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf  # type: ignore[import-untyped]

from tfllm.errors import InvalidInput, PermissionDenied, call_error
from tfllm.server.addresses import is_local
from tfllm.server.observers import current_event
from tfllm.wire import messages

SERVICE = "tensorflow.ProfilerService"
_MAX_SECONDS = 60.0
_HERE = "unix"  # the caller's name at a Unix socket


def add_profiler(server: grpc.Server, *, tokens: bool) -> None:
    """Let a gRPC server take traces.

    Args:
        server: the server.
        tokens: whether callers have tokens, so that an administrator may ask from anywhere; without them only this
            machine may.
    """
    profiler = _Profiler(tokens)
    handler = grpc.unary_unary_rpc_method_handler(
        profiler.profile,
        request_deserializer=messages.ProfileRequest.FromString,
        response_serializer=messages.ProfileResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Profile": handler}),))


class _Profiler:
    def __init__(self, tokens: bool) -> None:
        self._tokens = tokens

    def profile(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Record for as long as the request says, and answer with the trace."""
        self._check_caller()
        seconds = request.duration_ms / 1000
        if not 0 < seconds <= _MAX_SECONDS:
            raise InvalidInput(
                f"Expected a duration_ms from 1 to {_MAX_SECONDS * 1000:.0f}. Received: {request.duration_ms}."
            )
        response = messages.ProfileResponse(xspace=_record(seconds, context))
        response.empty_trace = not response.xspace
        return response

    def _check_caller(self) -> None:
        event = current_event()
        if event.rights is not None:
            event.rights.require_admin()
        if not self._tokens and event.caller != _HERE and not is_local(event.caller):
            raise PermissionDenied(
                "Only callers on the server's own machine, or administrators with a token, may profile."
            )


def _record(seconds: float, context: grpc.ServicerContext) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tfllm-profile-") as folder:
        try:
            tf.profiler.experimental.start(folder)
        except tf.errors.AlreadyExistsError as error:
            raise call_error("ALREADY_EXISTS", "Another profile is being taken.") from error
        try:
            end = time.monotonic() + seconds
            while context.is_active() and time.monotonic() < end:
                time.sleep(min(0.1, max(0.0, end - time.monotonic())))
        finally:
            tf.profiler.experimental.stop()
        files = list(Path(folder).rglob("*.xplane.pb"))
        return files[0].read_bytes() if files else b""
