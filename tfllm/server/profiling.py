"""TensorFlow's ProfilerService: a trace of what the process computes while it serves, for TensorBoard.

TensorFlow's own server writes the trace wherever the request says, as `tf.profiler.experimental.client.trace` and
TensorBoard expect. This one writes only below the folder that `profile_dir` names, or hands the trace to the caller: a
caller does not choose the files of the server.
"""

import logging
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf  # type: ignore[import-untyped]

from tfllm.errors import ConfigError, FailedPrecondition, InvalidInput, PermissionDenied, call_error
from tfllm.server.addresses import is_local
from tfllm.server.observers import current_event
from tfllm.wire import messages

logger = logging.getLogger(__name__)
SERVICE = "tensorflow.ProfilerService"
_MAX_SECONDS = 60.0
_HERE = "unix"  # the caller's name at a Unix socket
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")  # one part of a path: no separator, no "..", no hidden file


def add_profiler(server: grpc.Server, *, tokens: bool, folder: str = "") -> None:
    """Let a gRPC server take traces.

    Args:
        server: the server.
        tokens: whether callers have tokens, so that an administrator may ask from anywhere; without them only this
            machine may.
        folder: the folder below which traces may be written; empty where they only go to the caller.

    Raises:
        ConfigError: the folder cannot be made.
    """
    profiler = _Profiler(tokens, _made(folder) if folder else None)
    handler = grpc.unary_unary_rpc_method_handler(
        profiler.profile,
        request_deserializer=messages.ProfileRequest.FromString,
        response_serializer=messages.ProfileResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Profile": handler}),))


class _Profiler:
    def __init__(self, tokens: bool, folder: Path | None) -> None:
        self._tokens = tokens
        self._folder = folder

    def profile(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Record for as long as the request says; write the trace where it says, or answer with it."""
        self._check_caller()
        seconds = request.duration_ms / 1000
        if not 0 < seconds <= _MAX_SECONDS:
            raise InvalidInput(
                f"Expected a duration_ms from 1 to {_MAX_SECONDS * 1000:.0f}. Received: {request.duration_ms}."
            )
        file = None
        if request.repository_root and not request.emit_xspace:
            if self._folder is not None:
                file = _file(request, self._folder)
            else:
                logger.warning(
                    "A profile was to be written to '%s'. Without --profile_dir it goes to the caller alone; "
                    "tf.profiler.experimental.client.trace and TensorBoard do not keep it.",
                    request.repository_root,
                )
        xspace = _record(seconds, context)
        if file is None:
            return messages.ProfileResponse(xspace=xspace, empty_trace=not xspace)
        if xspace:
            _write(file, xspace)
        return messages.ProfileResponse(empty_trace=not xspace)

    def _check_caller(self) -> None:
        event = current_event()
        if event.rights is not None:
            event.rights.require_admin()
        if not self._tokens and event.caller != _HERE and not is_local(event.caller):
            raise PermissionDenied(
                "Only callers on the server's own machine, or administrators with a token, may profile."
            )


def _made(folder: str) -> Path:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"Expected a profile_dir to write to. Received: '{folder}': {error}") from error
    return Path(folder).resolve()


def _file(request: Any, folder: Path) -> Path:
    """The file that TensorFlow's server would write, if it is below the folder that may be written to."""
    session, host = request.session_id, request.host_name.replace(":", "_")
    for name, value in (("session_id", session), ("host_name", host)):
        if not _NAME.fullmatch(value):
            raise InvalidInput(f"Expected a {name} of letters, digits, '.', '_' and '-'. Received: '{value}'.")
    root = request.repository_root
    target = Path(root, session).resolve()
    if not target.is_relative_to(folder):
        raise InvalidInput(f"Expected a repository_root below --profile_dir={folder}. Received: '{root}'.")
    return target / f"{host}.xplane.pb"


def _write(file: Path, xspace: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as part:
            part.write(xspace)
        os.replace(part.name, file)  # a link of this name is replaced, not followed
    except OSError as error:
        raise FailedPrecondition(f"The profile could not be written to '{file}': {error}") from error


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
