"""Hedged requests: the same request once more when no answer comes, and the first answer counts.

Source: Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013, section "Within Request Short-Term Adaptations".
"""

import asyncio
import queue
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tfllm.client.endpoint import Endpoint


def hedged(send: Callable[[float | None], Any], timeout: float | None, endpoint: Endpoint) -> bytes:
    """Return the first answer of a request and its copies.

    Args:
        send: sends the request with this timeout and returns grpc's future.
        timeout: the seconds that all of it may take.
        endpoint: says after how many seconds a copy is sent, and how many.

    Raises:
        grpc.RpcError: all that were sent failed; the error is the last one's.
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
            if pace.failed(len(sent)):
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
            done, pending = await asyncio.wait(
                pending, timeout=pace.wait(len(sent)), return_when=asyncio.FIRST_COMPLETED
            )
            for call in done:
                failure = call.exception()
                if failure is None:
                    pace.answered(call is sent[0])
                    return call.result()
                if pace.failed(len(sent)):
                    raise failure
    finally:
        for call in pending:
            call.cancel()


async def _answer(call: Awaitable[bytes]) -> bytes:
    return await call


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
        self._most = endpoint.config.max_attempts
        endpoint.earn_hedge()

    def left(self) -> float | None:
        """Return the seconds that are left."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def due(self, sent: int) -> int:
        """Return how many are to be sent now: the request, a copy after a pause, two copies after each further one.

        Servers take turns, so two copies at once go to different ones, and one that is slow cannot have both. Copies
        that are not allowed are due again after another pause.
        """
        if not sent:
            return 1
        if sent >= self._most or time.monotonic() < self._due:
            return 0
        self._due += self._after
        wanted = min(1 if sent == 1 else 2, self._most - sent)
        return sum(self._endpoint.may_hedge() for _ in range(wanted))

    def wait(self, sent: int) -> float | None:
        """Return the seconds until a further copy is due; `None` if there will be none."""
        if sent >= self._most:
            return None  # each call ends by itself, with its own deadline
        return max(0.0, self._due - time.monotonic())

    def answered(self, by_first: bool) -> None:
        """Take note of the answer: a copy that was first was worth its while, and costs nothing of the budget."""
        if not by_first:
            self._endpoint.return_hedge()

    def failed(self, sent: int) -> bool:
        """Take note of a failure, and say whether nothing is under way any more."""
        self._failed += 1
        return self._failed == sent
