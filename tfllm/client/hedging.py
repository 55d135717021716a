"""Hedged requests: the same request once more when no answer comes, and the first answer counts.

Source: Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013, section "Within Request Short-Term Adaptations".
"""

import asyncio
import queue
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from tfllm.client import retries
from tfllm.client.endpoint import Endpoint


def hedged(send: Callable[[float | None], Any], timeout: float | None, endpoint: Endpoint) -> bytes:
    """Return the first answer of a request and its copies.

    A copy that fails for what may pass is followed by another one after a pause, as a retry; any other failure is that
    of the request.

    Args:
        send: sends the request with this timeout and returns grpc's future.
        timeout: the seconds that all of it may take.
        endpoint: says after how many seconds a copy is sent, and how many.

    Raises:
        grpc.RpcError: one failed for what will not pass, or all that were sent failed; the error is the last one's.
    """
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    pace = _Pace(endpoint, timeout)
    sent: list[Any] = []
    try:
        while True:
            for _ in range(pace.due(len(sent))):
                sent.append(send(pace.left()))
                sent[-1].add_done_callback(finished.put)
            try:
                call = finished.get(timeout=pace.wait(len(sent)))
            except queue.Empty:
                continue
            failure = call.exception()
            if failure is None:
                pace.answered(call is sent[0])
                answer: bytes = call.result()
                return answer
            if pace.failed(failure, len(sent)):
                raise failure
    finally:
        for call in sent:
            call.cancel()


async def hedged_async(
    send: Callable[[float | None], Awaitable[bytes]], timeout: float | None, endpoint: Endpoint
) -> bytes:
    """Return the first answer of a request and its copies; see `hedged`."""
    pace = _Pace(endpoint, timeout)
    sent: list[asyncio.Future[bytes]] = []
    pending: set[asyncio.Future[bytes]] = set()
    try:
        while True:
            for _ in range(pace.due(len(sent))):
                sent.append(asyncio.ensure_future(_answer(send(pace.left()))))
                pending.add(sent[-1])
            done, pending = await _first(pending, pace.wait(len(sent)))
            for call in sorted(done, key=lambda call: call.exception() is not None):  # an answer counts first
                failure = call.exception()
                if failure is None:
                    pace.answered(call is sent[0])
                    return call.result()
                if pace.failed(failure, len(sent)):
                    raise failure
    finally:
        for call in pending:
            call.cancel()


async def _answer(call: Awaitable[bytes]) -> bytes:
    return await call


_Calls = set[asyncio.Future[bytes]]


async def _first(pending: _Calls, seconds: float | None) -> tuple[_Calls, _Calls]:
    """Wait until a call ends, at most so long; return those that have ended and those that have not."""
    if pending:
        return await asyncio.wait(pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(seconds or 0.0)
    return set(), set()


class _Pace:
    """When a request's copies are due.

    Args:
        endpoint: has the settings.
        timeout: the seconds that all of it may take.
    """

    def __init__(self, endpoint: Endpoint, timeout: float | None) -> None:
        self._endpoint = endpoint
        self._after = endpoint.config.hedge_after or 0.0
        start = time.monotonic()
        self._due = start + self._after
        self._end = None if timeout is None else start + timeout
        self._failed = 0
        self._again: list[float] = []  # when failed ones are sent again
        self._most = endpoint.config.max_attempts
        endpoint.earn_hedge()

    def left(self) -> float | None:
        """Return the seconds that are left."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def due(self, sent: int) -> int:
        """Return how many are to be sent now: the request, a copy after a pause, two copies after each further one.

        Servers take turns, so two copies at once go to different ones, and one that is slow cannot have both. Copies
        that are not allowed are due again after another pause. Those that follow a failure come beside them.
        """
        if not sent:
            return 1
        now = time.monotonic()
        again = sum(moment <= now for moment in self._again)
        self._again = [moment for moment in self._again if moment > now]
        if not self._may_copy(sent + again) or now < self._due:
            return again
        self._due += self._after
        wanted = min(1 if sent == 1 else 2, self._most - sent - again - len(self._again))
        return again + sum(self._endpoint.may_hedge() for _ in range(wanted))

    def wait(self, sent: int) -> float | None:
        """Return the seconds until a further copy is due; `None` if there will be none."""
        moments = [*self._again, *([self._due] if self._may_copy(sent) else [])]
        if not moments:
            return None  # each call ends by itself, with its own deadline
        return max(0.0, min(moments) - time.monotonic())

    def _may_copy(self, sent: int) -> bool:
        """Say whether there may be a copy of what has no answer yet."""
        return sent > self._failed and sent + len(self._again) < self._most

    def answered(self, by_first: bool) -> None:
        """Take note of the answer: a copy that was first was worth its while, and costs nothing of the budget."""
        self._endpoint.retries.answered()
        if not by_first:
            self._endpoint.return_hedge()

    def failed(self, failure: BaseException, sent: int) -> bool:
        """Take note of a failure, and say whether it is that of the request."""
        self._failed += 1
        if not isinstance(failure, grpc.RpcError) or failure.code().name not in retries.RETRIED:
            return True
        budget = self._endpoint.retries
        budget.failed()
        if sent + len(self._again) < self._most and not budget.spent:
            moment = time.monotonic() + retries.pause(self._endpoint.config, self._failed)
            if self._end is None or moment < self._end:
                self._again.append(moment)
        return self._failed == sent and not self._again
