"""Which version a request goes to: a canary's share of the calls, and versions that do not change under a client.

They are transports around transports, so that they go with gRPC, REST and mocks alike.
"""

import asyncio
import contextlib
import os
import threading
import time
import zlib
from collections.abc import Callable, Generator
from typing import Any

from tfllm.client.bulk import Deadline
from tfllm.client.calls import serialized
from tfllm.client.flows import run, run_async
from tfllm.errors import CallError, ConfigError, ModelNotFound, ServerError, Timeout, Unimplemented
from tfllm.wire import messages

_MODEL_FIRST = (messages.PREDICT, messages.CLASSIFY, messages.REGRESS, messages.GET_MODEL_METADATA)
_TRIES = 6  # servers take turns, so that one of a few answers which still has a version
_AWAY_SECONDS = 60.0  # how long a version that was left is not gone back to, as servers that are updated have both

_Step = tuple[str, bytes] | None
_Steps = Generator[_Step, Any, Any]
"""A method and a request to send, or nothing: to wait for one's turn to look for the version."""


def with_version(method: str, request: bytes, version: int | None, label: str | None) -> bytes:
    """Return a request to another version of its model.

    The bytes of a further ModelSpec are appended: protobuf merges them into the first one, and the last choice of a
    version counts, so that nothing is parsed. Several signatures at once have a ModelSpec each.

    Args:
        method: the full method name; status and reload stay as they are.
        request: the request's bytes.
        version: the version number.
        label: a version label instead.
    """
    if version is None and label is None:
        return request
    choice = {"version_label": label} if version is None else {"version": {"value": version}}
    if method in _MODEL_FIRST:
        return request + serialized(messages.PredictRequest(model_spec=choice))
    if method != messages.MULTI_INFERENCE:
        return request
    several = messages.MultiInferenceRequest.FromString(request)
    for task in several.tasks:
        task.model_spec.MergeFrom(messages.ModelSpec(**choice))
    return serialized(several)


class _Canary:
    """What both canary transports are."""

    def __init__(
        self,
        stable: Any,
        canary: Any = None,
        *,
        share: float,
        version: int | None = None,
        label: str | None = None,
    ) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"Expected a share from 0 to 1. Received: share={share}.")
        if canary is None and version is None and label is None:
            raise ConfigError("Expected a transport, a version or a label for the canary. Received: none.")
        self._transports = (stable, stable if canary is None else canary)
        self._share, self._version, self._label = share, version, label
        self.counts = [0, 0]

    def _choose(self, method: str, request: bytes) -> tuple[Any, bytes]:
        """Return the transport that a request goes to, and the request as it is sent there."""
        stable, canary = self._transports
        if method not in messages.PREDICTIONS:
            return stable, request
        place = int(zlib.crc32(request) < self._share * 2**32)
        self.counts[place] += 1
        return (canary, with_version(method, request, self._version, self._label)) if place else (stable, request)


class CanaryTransport(_Canary):
    """A share of the predictions goes elsewhere.

    The same request always goes to the same side, so that an answer does not change from one call to the next. What is
    no prediction (status, metadata, reload) goes to stable.

    Args:
        stable: where the other requests go.
        canary: where the share goes; also `stable` without it, and then to `version` or `label`.
        share: the canary's share of the predictions, 0 to 1.
        version: the version that the share asks for.
        label: the version label that the share asks for.

    Raises:
        ConfigError: the share is none, or the two sides are the same.

    Attributes:
        counts: how many predictions went to stable, and how many to the canary.

    Example:
        >>> transport = CanaryTransport(GrpcTransport("localhost:8500"), label="canary", share=0.05)
        >>> client = Client("localhost:8500", model="reviews", transport=transport)
    """

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        transport, sent = self._choose(method, request)
        answer: bytes = transport.call(method, sent, timeout)
        return answer

    def close(self, grace: float = 0.0) -> None:
        """Close the transports."""
        for transport in dict.fromkeys(self._transports):
            transport.close(grace)


class AsyncCanaryTransport(_Canary):
    """A `CanaryTransport` for an `AsyncClient`."""

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        transport, sent = self._choose(method, request)
        answer: bytes = await transport.call(method, sent, timeout)
        return answer

    async def close(self, grace: float = 0.0) -> None:
        """Close the transports."""
        await asyncio.gather(*(transport.close(grace) for transport in dict.fromkeys(self._transports)))


class _Sticky:
    """What both sticky transports are.

    Args:
        transport: what carries the calls.
        lock: makes a lock; whoever holds it looks for the version, while the others wait. A fork has one of its own:
            its parent's may be held by a thread that the fork does not have.
    """

    def __init__(self, transport: Any, lock: Callable[[], Any]) -> None:
        self._transport, self._lock = transport, lock
        self._turns: dict[int, Any] = {}
        self._left: dict[int, float] = {}
        self.version: int | None = None

    @property
    def _turn(self) -> Any:
        here = self._turns.get(os.getpid())
        return here or self._turns.setdefault(os.getpid(), self._lock())

    def _route(self, method: str, request: bytes) -> _Steps:
        if method not in messages.PREDICTIONS:
            return (yield method, request)
        version = self.version
        if version is None:
            version = yield from self._chosen(method, request, None)
        try:
            return (yield from _tried(method, with_version(method, request, version, None)))
        except ModelNotFound:
            version = yield from self._chosen(method, request, version)
            return (yield from _tried(method, with_version(method, request, version, None)))

    def _chosen(self, method: str, request: bytes, gone: int | None) -> _Steps:
        """Return the version to keep from now on; another caller may have found it already."""
        yield None
        try:
            if self.version == gone:
                if gone is not None:
                    self._left[gone] = time.monotonic()
                self.version = yield from self._looked_up(method, request)
            return self.version
        finally:
            self._turn.release()

    def _looked_up(self, method: str, request: bytes) -> _Steps:
        """Ask which version the request would go to, until one is named that was not left of late."""
        failure: CallError | None = None
        for _ in range(_TRIES):
            try:
                version = yield from _named(method, request)
            except ModelNotFound as error:
                failure = error
                continue
            if time.monotonic() - self._left.get(version, -_AWAY_SECONDS) >= _AWAY_SECONDS:
                return version
            failure = ModelNotFound(
                f"Expected another version than those that are gone. Received: version {version}, which was left less "
                f"than {_AWAY_SECONDS:g} s ago. Wait until the servers are updated, or open a new client."
            )
        raise failure or ModelNotFound("Expected a version. Received: none.")


def _tried(method: str, request: bytes) -> _Steps:
    """Send a request, again where a server does not have the version: another one may."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(ModelNotFound):
            return (yield method, request)
    return (yield method, request)


def _named(method: str, request: bytes) -> _Steps:
    """Return the version that a request would go to, label and all; only mocks have no metadata, but a status."""
    if method == messages.MULTI_INFERENCE:
        spec = messages.MultiInferenceRequest.FromString(request).tasks[0].model_spec
    else:
        spec = messages.GetModelStatusRequest.FromString(request).model_spec  # the same field in all of them
    spec.ClearField("signature_name")
    asked = messages.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
    try:
        answer = yield messages.GET_MODEL_METADATA, serialized(asked)
        found = messages.GetModelMetadataResponse.FromString(answer).model_spec
        version = found.version.value if found.HasField("version") else None
    except Unimplemented:
        answer = yield messages.GET_MODEL_STATUS, serialized(messages.GetModelStatusRequest(model_spec=spec))
        rows = messages.GetModelStatusResponse.FromString(answer).model_version_status
        version = max((row.version for row in rows if row.state == messages.STATES["AVAILABLE"]), default=None)
    if version is None:
        raise ServerError("Expected a server that says which version answers. Received: none.")
    return version


class StickyTransport(_Sticky):
    """The version that answers first answers on, also when a newer one is loaded.

    Long calls then have the answers of one version, and several servers that are being updated do not mix theirs. The
    server is asked for the version before the first prediction is sent. When no server has it any more, the newest one
    is taken, and kept.

    Args:
        transport: what carries the calls.

    Attributes:
        version: the version that is kept, once there is one.

    Example:
        >>> client = Client("a:8500,b:8500", model="m", transport=StickyTransport(GrpcTransport("a:8500,b:8500")))
    """

    def __init__(self, transport: Any) -> None:
        super().__init__(transport, threading.Lock)

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        deadline = Deadline(timeout, "", "")

        def do(step: _Step) -> bytes | None:
            left = deadline.remaining()
            if step is not None:
                answer: bytes = self._transport.call(*step, left)
                return answer
            if not self._turn.acquire(timeout=-1 if left is None else left):
                raise Timeout("Deadline Exceeded")
            return None

        with contextlib.closing(self._route(method, request)) as route:
            answer: bytes = run(route, do)
            return answer

    def close(self, grace: float = 0.0) -> None:
        """Close the transport."""
        self._transport.close(grace)


class AsyncStickyTransport(_Sticky):
    """A `StickyTransport` for an `AsyncClient`."""

    def __init__(self, transport: Any) -> None:
        super().__init__(transport, asyncio.Lock)

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        deadline = Deadline(timeout, "", "")

        async def do(step: _Step) -> bytes | None:
            left = deadline.remaining()
            if step is not None:
                answer: bytes = await self._transport.call(*step, left)
                return answer
            try:
                async with asyncio.timeout(left):
                    await self._turn.acquire()
            except TimeoutError as error:
                raise Timeout("Deadline Exceeded") from error
            return None

        with contextlib.closing(self._route(method, request)) as route:
            answer: bytes = await run_async(route, do)
            return answer

    async def close(self, grace: float = 0.0) -> None:
        """Close the transport."""
        await self._transport.close(grace)
