"""Long calls: many requests of one call, their results in order, and what is known when some fail."""

import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tfllm.client.calls import Chunk
from tfllm.errors import (
    CallError,
    ConfigError,
    InvalidInput,
    Overloaded,
    ServerError,
    ServerUnavailable,
    Timeout,
    partial_failure,
)
from tfllm.results import Result

OnError = Literal["raise", "yield"]

_OF_THESE_ROWS = (InvalidInput, ServerError, ServerUnavailable, Overloaded)  # the next request may do better
_FAILED_IN_A_ROW = 3  # then the rest is not sent


def require_on_error(on_error: OnError) -> None:
    """Raise `ConfigError` if it is neither "raise" nor "yield"."""
    if on_error not in get_args(OnError):
        raise ConfigError(f"Expected 'raise' or 'yield'. Received: on_error={on_error!r}.")


@dataclass(frozen=True)
class Outcome:
    """What became of one request: its results, or its error.

    Attributes:
        chunk: the request.
        results: one result a row, nothing if it failed.
        error: why it failed.
    """

    chunk: Chunk
    results: list[Result] = field(default_factory=list)
    error: CallError | None = None

    def rows(self, on_error: OnError) -> list[Result | CallError]:
        """Return a result for each row, or its error.

        Raises:
            CallError: the request failed, and `on_error` is `"raise"`; it is a `PartialFailure`.
        """
        if self.error is None:
            return [*self.results]
        if on_error == "raise":
            raise partial_failure([], dict.fromkeys(self.chunk.rows, self.error)) from self.error
        return [self.error] * self.chunk.count


class Deadline:
    """The time left of a whole call.

    Args:
        timeout: the seconds it may take; `None` for ever.
        model: the model's name, for the error.
        address: the address, for the error.
    """

    def __init__(self, timeout: float | None, model: str, address: str) -> None:
        self._timeout, self._model, self._address = timeout, model, address
        self._end = None if timeout is None else time.monotonic() + timeout

    def remaining(self, done: int | None = None) -> float | None:
        """Return the seconds left.

        Raises:
            Timeout: there are none; `done` is how many texts were sent by then.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            after = "" if done is None else f" after {done} texts"
            raise Timeout(f"The timeout of {self._timeout} s passed{after}.", model=self._model, address=self._address)
        return left

    def at_most(self, seconds: float) -> float:
        """Return the seconds left, or `seconds` if there are more."""
        return seconds if self._end is None else max(0.0, min(seconds, self._end - time.monotonic()))


class Collected:
    """The results of a call's requests, as they come in order.

    Args:
        items: what is gone through; if it has a length, it is known when all was asked.

    Attributes:
        total: how many items there are, if that is known.
    """

    def __init__(self, items: object = None) -> None:
        self.total = len(items) if isinstance(items, Sized) else None
        self._results: list[Result | None] = []
        self._failed: dict[int, CallError] = {}
        self._in_a_row = 0
        self._stopped = False

    @property
    def rows(self) -> int:
        """How many rows were answered or failed."""
        return len(self._results)

    def add(self, outcome: Outcome) -> bool:
        """Take one request's outcome, and say whether to go on: after some errors it is of no use."""
        if outcome.error is None:
            self._in_a_row = 0
            self._results += outcome.results
            return True
        self._in_a_row += 1
        self._failed |= dict.fromkeys(outcome.chunk.rows, outcome.error)
        self._results += [None] * outcome.chunk.count
        self._stopped = not isinstance(outcome.error, _OF_THESE_ROWS) or self._in_a_row == _FAILED_IN_A_ROW
        return not self._stopped

    def results(self) -> list[Result]:
        """Return all results.

        Raises:
            CallError: requests failed: the first one's error if all did, else a `PartialFailure`.
        """
        results = [result for result in self._results if result is not None]
        if not self._failed:
            return results
        first = self._failed[min(self._failed)]
        if not results:
            raise first
        rest = self._stopped and self.rows != self.total
        raise partial_failure(self._results, self._failed, self.rows if rest else None) from first


def in_order(
    ask: Callable[[Chunk], Outcome], chunks: Iterator[Chunk], concurrency: int
) -> Generator[Outcome, None, None]:
    """Ask for some requests at a time, and yield the outcomes in order.

    No request is made before there is room for it, so that a source of any length needs the memory of `concurrency`
    requests. What is there is yielded before the source is read on, and before an error of the source.
    """
    if concurrency == 1:
        yield from map(ask, chunks)
        return
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="tfllm-client")
    window: deque[Future[Outcome]] = deque()
    failure: Exception | None = None
    try:
        while True:
            try:
                chunk = next(chunks, None)
            except Exception as error:  # noqa: BLE001 - the caller's own source may raise anything
                failure = error
                break
            if chunk is None:
                break
            window.append(pool.submit(copy_context().run, ask, chunk))
            while window and (len(window) == concurrency or window[0].done()):
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if failure is not None:
        raise failure


async def in_order_async(
    ask: Callable[[Chunk], Awaitable[Outcome]], chunks: AsyncGenerator[Chunk, None], concurrency: int
) -> AsyncGenerator[Outcome, None]:
    """Do what `in_order` does, with tasks of the running event loop.

    An outcome is yielded as soon as it is there, also while a slow source is waited for.
    """
    import asyncio

    asked: asyncio.Queue[asyncio.Future[Outcome] | None] = asyncio.Queue()
    room = asyncio.Semaphore(concurrency)

    async def read() -> None:
        try:
            async with aclosing(chunks):
                await room.acquire()
                async for chunk in chunks:
                    asked.put_nowait(asyncio.ensure_future(ask(chunk)))
                    await asyncio.sleep(0)  # send it before a source that is slow is read on
                    await room.acquire()
        finally:
            asked.put_nowait(None)

    reading: asyncio.Future[None] = asyncio.ensure_future(read())
    try:
        while (task := await asked.get()) is not None:
            yield await task
            room.release()
        await reading  # an error of the source
    finally:
        waiting = [asked.get_nowait() for _ in range(asked.qsize())]
        tasks: list[asyncio.Future[Any]] = [reading, *(task for task in waiting if task is not None)]
        for left in tasks:
            left.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
