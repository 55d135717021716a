"""Calls written once for both clients: generators that say what to do, and the two drivers that do it.

A flow yields a step, is given what came of it, and returns the call's result. It never moves a byte or waits itself, so
one flow serves threads and event loops: the idea of "sans I/O", and of httpx's authentication flows.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from tfllm.client.bulk import Collected, Outcome, in_order, in_order_async
from tfllm.client.calls import Chunk
from tfllm.client.progress import ProgressBar
from tfllm.errors import CallError

if TYPE_CHECKING:
    from tfllm.client.aio_transport import AsyncTransport
    from tfllm.client.transport import Transport

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; what comes back is the response's bytes, or a `CallError` is thrown.

    Attributes:
        method: the full method name.
        request: the request's bytes.
        timeout: the seconds until the caller gives up; `None` waits for ever.
    """

    method: str
    request: bytes
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait.

    Attributes:
        seconds: how long.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Many:
    """Send many requests, some at a time; what comes back is `collected` filled in order.

    Attributes:
        chunks: the requests; asynchronous only in an event loop.
        ask: the flow of one request.
        concurrency: how many are under way at once.
        items: what is gone through, for the progress bar's length.
        progress: whether a bar is wanted.
        collected: takes the outcomes.
    """

    chunks: Iterator[Chunk] | AsyncIterator[Chunk]
    ask: "Callable[[Chunk], Flow[Outcome]]"
    concurrency: int
    items: object
    progress: bool | None
    collected: Collected


Flow = Generator[Send | Pause | Many, Any, T]


class Blocking:
    """Runs flows in the calling thread."""

    _transport: "Transport"

    def _run(self, flow: Flow[T]) -> T:
        move: Callable[[Any], Any] = flow.send
        said: Any = None
        while True:
            try:
                step = move(said)
            except StopIteration as end:
                return cast(T, end.value)
            try:
                said, move = self._do(step), flow.send
            except CallError as error:
                said, move = error, flow.throw

    def _do(self, step: Send | Pause | Many) -> object:
        if isinstance(step, Send):
            return self._transport.call(step.method, step.request, step.timeout)
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        chunks = cast(Iterator[Chunk], step.chunks)
        outcomes = in_order(lambda chunk: self._run(step.ask(chunk)), chunks, step.concurrency)
        with contextlib.closing(outcomes), ProgressBar(step.items, step.progress) as bar:
            for outcome in outcomes:
                if not step.collected.add(outcome):
                    break
                bar.update(step.collected.rows)
        return None


class Awaiting:
    """Runs flows in an event loop."""

    _transport: "AsyncTransport"

    async def _run(self, flow: Flow[T]) -> T:
        move: Callable[[Any], Any] = flow.send
        said: Any = None
        while True:
            try:
                step = move(said)
            except StopIteration as end:
                return cast(T, end.value)
            try:
                said, move = await self._do(step), flow.send
            except CallError as error:
                said, move = error, flow.throw

    async def _do(self, step: Send | Pause | Many) -> object:
        if isinstance(step, Send):
            return await self._transport.call(step.method, step.request, step.timeout)
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        chunks = cast(AsyncIterator[Chunk], step.chunks)
        outcomes = in_order_async(lambda chunk: self._run(step.ask(chunk)), chunks, step.concurrency)
        async with contextlib.aclosing(outcomes):
            with ProgressBar(step.items, step.progress) as bar:
                async for outcome in outcomes:
                    if not step.collected.add(outcome):
                        break
                    bar.update(step.collected.rows)
        return None


class _Method(Generic[P, T]):
    """How type checkers see a shared call: a method of a `Client`, a coroutine method of an `AsyncClient`."""

    @overload
    def __get__(self, instance: Blocking, owner: object) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Awaiting, owner: object) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Blocking | Awaiting, owner: object) -> object: ...


def shared(flow: Callable[Concatenate[Any, P], Flow[T]]) -> _Method[P, T]:
    """Make a flow a method of both clients: `client.status()`, and `await client.status()` of an `AsyncClient`."""

    @functools.wraps(flow)
    def method(self: Any, *args: P.args, **options: P.kwargs) -> Any:
        return self._run(flow(self, *args, **options))

    return cast("_Method[P, T]", method)
