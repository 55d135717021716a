"""Shadow traffic: requests are also sent to a second place, and its answers are compared, never returned."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfllm.client import calls
from tfllm.client.aio_transport import AsyncTransport
from tfllm.client.calls import Arrays
from tfllm.client.routing import with_version
from tfllm.client.transport import Transport
from tfllm.wire import messages

_THREADS = 4


@dataclass(frozen=True)
class Difference:
    """A request that the shadow answered otherwise.

    Attributes:
        outputs: name of an output that differs -> what is different about it.
        request: the request, a serialized PredictRequest.
        answer: what was returned.
        shadow_answer: what the shadow said.
    """

    outputs: Mapping[str, str]
    request: bytes
    answer: Arrays
    shadow_answer: Arrays


class ShadowReport:
    """How the shadow's answers compare.

    Args:
        on_difference: is called with each `Difference`, in the background.
        tolerance: how far numbers may be apart, absolutely and relatively.

    Attributes:
        same: how many answers were equal.
        different: how many were not.
        failed: how many requests the shadow did not answer, or not with what can be compared.
        dropped: how many it was not asked, because too many were waiting or the transport was closed.
        waiting: how many are waiting for it.
        last_error: why it last failed, or what `on_difference` last raised.
    """

    def __init__(self, on_difference: Callable[[Difference], None] | None, tolerance: float) -> None:
        self._on_difference, self._tolerance = on_difference, tolerance
        self._lock = threading.Lock()
        self.same = self.different = self.failed = self.dropped = self.waiting = 0
        self.last_error: Exception | None = None

    def may_wait(self, most: int) -> bool:
        """Say whether one more request may wait for the shadow, and take note of it."""
        with self._lock:
            if self.waiting >= most:
                self.dropped += 1
                return False
            self.waiting += 1
            return True

    def drop(self) -> None:
        """Take note of a request that waited, and that the shadow is not asked any more."""
        with self._lock:
            self.waiting -= 1
            self.dropped += 1

    def compare(self, request: bytes, answer: bytes, shadow: bytes | Exception) -> None:
        """Take the shadow's answer to a request, or its error."""
        found, error = None, shadow if isinstance(shadow, Exception) else None
        if not isinstance(shadow, Exception):
            try:
                found = self._difference(request, answer, shadow)
            except Exception as failure:  # noqa: BLE001 - whatever is wrong with the shadow's answer, it is counted
                error = failure
        with self._lock:
            self.waiting -= 1
            if error is not None:
                self.failed += 1
                self.last_error = error
            elif found is None:
                self.same += 1
            else:
                self.different += 1
        if found is not None:
            self._tell(found)

    def _difference(self, request: bytes, answer: bytes, shadow: bytes) -> Difference | None:
        first, second = calls.outputs_of(answer), calls.outputs_of(shadow)
        outputs = _differences(first, second, self._tolerance)
        return Difference(outputs, request, first, second) if outputs else None

    def _tell(self, found: Difference) -> None:
        if self._on_difference is None:
            return
        try:
            self._on_difference(found)
        except Exception as failure:  # noqa: BLE001 - it is the program's own, and nobody waits here
            with self._lock:
                self.last_error = failure

    def __repr__(self) -> str:
        return (
            f"ShadowReport(same={self.same}, different={self.different}, failed={self.failed}, dropped={self.dropped})"
        )


class _Shadow:
    """What both shadow transports are."""

    def __init__(
        self,
        main: Any,
        shadow: Any = None,
        *,
        version: int | None = None,
        label: str | None = None,
        on_difference: Callable[[Difference], None] | None = None,
        tolerance: float = 1e-5,
        most_waiting: int = 64,
    ) -> None:
        self._main, self._shadow = main, main if shadow is None else shadow
        self._version, self._label = version, label
        self._most_waiting = most_waiting
        self._submitting = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._closed = False
        self.report = ShadowReport(on_difference, tolerance)

    def _is_shadowed(self, method: str) -> bool:
        return method == messages.PREDICT and self.report.may_wait(self._most_waiting)


class ShadowTransport(_Shadow):
    """Sends Predict requests to a second place too, and reports how its answers differ.

    The caller gets the first one's answer and never waits for the shadow.

    Args:
        main: answers.
        shadow: is compared; also `main` without it, and then its `version` or `label`.
        version: the version that the shadow is asked for.
        label: the version label that the shadow is asked for.
        on_difference: is called with each `Difference`, in the background.
        tolerance: how far numbers may be apart, absolutely and relatively.
        most_waiting: how many requests may wait for the shadow; further ones are not sent to it.

    Attributes:
        report: the counts; see `ShadowReport`.

    Example:
        >>> transport = ShadowTransport(GrpcTransport("blue:8500"), GrpcTransport("green:8500"))
        >>> client = Client("blue:8500", model="reviews", transport=transport)
        >>> client.predict(texts)
        >>> transport.report
        ShadowReport(same=63, different=1, failed=0, dropped=0)
    """

    _main: Transport
    _shadow: Transport

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        answer = self._main.call(method, request, timeout)
        if self._is_shadowed(method):
            with self._submitting:
                if self._closed:
                    self.report.drop()
                else:
                    self._submit(method, request, answer, timeout)
        return answer

    def close(self, grace: float = 0.0) -> None:
        """Close both, with one grace; what waits for the shadow then is given up."""
        end = time.monotonic() + grace
        self._main.close(grace)
        with self._submitting:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._shadow is not self._main:
            self._shadow.close(max(0.0, end - time.monotonic()))

    def _submit(self, method: str, request: bytes, answer: bytes, timeout: float | None) -> None:
        """Have the shadow asked, in the caller's context: of its span, for example."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tfllm-shadow")
        asked = self._pool.submit(contextvars.copy_context().run, self._ask, method, request, answer, timeout)
        asked.add_done_callback(lambda asked: self.report.drop() if asked.cancelled() else None)

    def _ask(self, method: str, request: bytes, answer: bytes, timeout: float | None) -> None:
        said: bytes | Exception
        try:
            said = self._shadow.call(method, with_version(method, request, self._version, self._label), timeout)
        except Exception as error:  # noqa: BLE001 - a token's function may raise anything; it is counted
            said = error
        self.report.compare(request, answer, said)


class AsyncShadowTransport(_Shadow):
    """A `ShadowTransport` for an `AsyncClient`."""

    _main: AsyncTransport
    _shadow: AsyncTransport

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        answer = await self._main.call(method, request, timeout)
        if self._is_shadowed(method):
            if self._closed:
                self.report.drop()
                return answer
            task = asyncio.ensure_future(self._ask(method, request, answer, timeout))
            self._asking.add(task)
            task.add_done_callback(self._done)
        return answer

    async def close(self, grace: float = 0.0) -> None:
        """Close both, with one grace; what waits for the shadow then is given up."""
        end = time.monotonic() + grace
        await self._main.close(grace)
        self._closed = True
        for task in self._asking:
            task.cancel()
        if self._shadow is not self._main:
            await self._shadow.close(max(0.0, end - time.monotonic()))

    async def _ask(self, method: str, request: bytes, answer: bytes, timeout: float | None) -> None:
        said: bytes | Exception
        try:
            said = await self._shadow.call(method, with_version(method, request, self._version, self._label), timeout)
        except Exception as error:  # noqa: BLE001 - a token's function may raise anything; it is counted
            said = error
        self.report.compare(request, answer, said)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        if task.cancelled():
            self.report.drop()


def _differences(first: Arrays, second: Arrays, tolerance: float) -> dict[str, str]:
    """Say of each output what is different about it."""
    found = {name: "in one of the answers only" for name in first.keys() ^ second.keys()}
    for name in first.keys() & second.keys():
        a, b = first[name], second[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            found[name] = f"{a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}"
        elif a.dtype.kind in "Ob":
            if count := int((a != b).sum()):
                found[name] = f"{count} of {a.size} values"
        elif not np.allclose(a.astype(complex), b.astype(complex), rtol=tolerance, atol=tolerance, equal_nan=True):
            found[name] = f"up to {np.nanmax(np.abs(a.astype(complex) - b.astype(complex))):.3g} apart"
    return found
