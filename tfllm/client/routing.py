"""Which version a request goes to: a canary's share of the calls, and versions that do not change under a client.

They are transports around transports, so that they go with gRPC, REST and mocks alike.
"""

import asyncio
import zlib
from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any

from tfllm.client.calls import serialized
from tfllm.client.flows import run, run_async
from tfllm.errors import ConfigError, ModelNotFound
from tfllm.wire import messages

_MODEL_FIRST = (messages.PREDICT, messages.CLASSIFY, messages.REGRESS, messages.GET_MODEL_METADATA)

_Steps = Generator[tuple[int, bytes], bytes, bytes]
"""Which of the transports a request goes to, and its bytes; what is sent back is the answer."""


def with_version(method: str, request: bytes, version: int | None, label: str | None) -> bytes:
    """Return a request to another version of its model.

    The bytes of a further ModelSpec are appended: protobuf merges them into the first one, and the last choice of a
    version counts, so that nothing is parsed.

    Args:
        method: the full method name; status, reload and several signatures at once stay as they are.
        request: the request's bytes.
        version: the version number.
        label: a version label instead.
    """
    if method not in _MODEL_FIRST or (version is None and label is None):
        return request
    choice = {"version_label": label} if version is None else {"version": {"value": version}}
    return request + serialized(messages.PredictRequest(model_spec=choice))


class _Routed(ABC):
    """Runs the steps of a route in the calling thread."""

    _transports: tuple[Any, ...]

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        return run(self._route(method, request), lambda step: self._transports[step[0]].call(method, step[1], timeout))

    def close(self, grace: float = 0.0) -> None:
        """Close the transports."""
        for transport in dict.fromkeys(self._transports):
            transport.close(grace)

    @abstractmethod
    def _route(self, method: str, request: bytes) -> _Steps:
        """Say where a request goes."""


class _AsyncRouted(ABC):
    """Runs the steps of a route in an event loop."""

    _transports: tuple[Any, ...]

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        return await run_async(
            self._route(method, request), lambda step: self._transports[step[0]].call(method, step[1], timeout)
        )

    async def close(self, grace: float = 0.0) -> None:
        """Close the transports."""
        await asyncio.gather(*(transport.close(grace) for transport in dict.fromkeys(self._transports)))

    @abstractmethod
    def _route(self, method: str, request: bytes) -> _Steps:
        """Say where a request goes."""


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

    def _route(self, method: str, request: bytes) -> _Steps:
        place = int(zlib.crc32(request) < self._share * 2**32)
        self.counts[place] += 1
        return (yield (place, with_version(method, request, self._version, self._label) if place else request))


class _Sticky:
    """What both sticky transports are."""

    def __init__(self, transport: Any) -> None:
        self._transports = (transport,)
        self.version: int | None = None

    def _route(self, method: str, request: bytes) -> _Steps:
        if method != messages.PREDICT:
            return (yield 0, request)
        if self.version is not None:
            try:
                return (yield 0, with_version(method, request, self.version, None))
            except ModelNotFound:
                self.version = None
        answer = yield 0, request
        self.version = messages.PredictResponse.FromString(answer).model_spec.version.value or None
        return answer


class CanaryTransport(_Canary, _Routed):
    """A share of the requests goes elsewhere.

    The same request always goes to the same side, so that an answer does not change from one call to the next.

    Args:
        stable: where the other requests go.
        canary: where the share goes; also `stable` without it, and then to `version` or `label`.
        share: the canary's share of the requests, 0 to 1.
        version: the version that the share asks for.
        label: the version label that the share asks for.

    Raises:
        ConfigError: the share is none, or the two sides are the same.

    Attributes:
        counts: how many requests went to stable, and how many to the canary.

    Example:
        >>> transport = CanaryTransport(GrpcTransport("localhost:8500"), label="canary", share=0.05)
        >>> client = Client("localhost:8500", model="reviews", transport=transport)
    """


class AsyncCanaryTransport(_Canary, _AsyncRouted):
    """A `CanaryTransport` for an `AsyncClient`."""


class StickyTransport(_Sticky, _Routed):
    """The version that answers first answers on, also when a newer one is loaded.

    Long calls then have the answers of one version, and several servers that are being updated do not mix theirs. When
    the version is gone, the newest one is taken, and kept.

    Args:
        transport: what carries the calls.

    Attributes:
        version: the version that is kept, once there is one.

    Example:
        >>> client = Client("a:8500,b:8500", model="m", transport=StickyTransport(GrpcTransport("a:8500,b:8500")))
    """


class AsyncStickyTransport(_Sticky, _AsyncRouted):
    """A `StickyTransport` for an `AsyncClient`."""
