"""Calls written once for both clients: generators that say what to do, and the two drivers that do it.

A flow yields a step, is given what came of it, and returns the call's result. It never moves a byte or waits itself, so
one flow serves threads and event loops: the idea of "sans I/O", and of httpx's authentication flows.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar, cast, overload

from tfllm.client.bulk import Collected, Outcome, in_order, in_order_async
from tfllm.client.calls import Chunk, Item, Text
from tfllm.client.progress import ProgressBar
from tfllm.errors import CallError

if TYPE_CHECKING:
    from tfllm.client.aio_transport import AsyncTransport
    from tfllm.client.transport import Transport

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


class Send(NamedTuple):
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


def run(flow: Generator[Any, Any, T], do: Callable[[Any], Any]) -> T:
    """Run a flow: do each step, and tell what came of it; a `CallError` is thrown into the flow."""
    move: Callable[[Any], Any] = flow.send
    said: Any = None
    while True:
        try:
            step = move(said)
        except StopIteration as end:
            result: T = end.value
            return result
        try:
            said, move = do(step), flow.send
        except CallError as error:
            said, move = error, flow.throw


async def run_async(flow: Generator[Any, Any, T], do: Callable[[Any], Awaitable[Any]]) -> T:
    """Run a flow in an event loop; see `run`."""
    move: Callable[[Any], Any] = flow.send
    said: Any = None
    while True:
        try:
            step = move(said)
        except StopIteration as end:
            result: T = end.value
            return result
        try:
            said, move = await do(step), flow.send
        except CallError as error:
            said, move = error, flow.throw


class Blocking:
    """Runs flows in the calling thread."""

    _transport: "Transport"

    def _run(self, flow: Flow[T]) -> T:
        return run(flow, self._do)

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

    def _run(self, flow: Flow[T]) -> Coroutine[Any, Any, T]:
        return run_async(flow, self._do)

    def _do(self, step: Send | Pause | Many) -> Awaitable[object]:
        if isinstance(step, Send):
            return self._transport.call(step.method, step.request, step.timeout)
        return asyncio.sleep(step.seconds) if isinstance(step, Pause) else self._do_many(step)

    async def _do_many(self, step: Many) -> None:
        chunks = cast(AsyncGenerator[Chunk, None], step.chunks)
        outcomes = in_order_async(lambda chunk: self._run(step.ask(chunk)), chunks, step.concurrency)
        async with contextlib.aclosing(outcomes):
            with ProgressBar(step.items, step.progress) as bar:
                async for outcome in outcomes:
                    if not step.collected.add(outcome):
                        break
                    bar.update(step.collected.rows)


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


class TextCall(Protocol[R]):
    """A call with one text, or with many."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, texts: Text, *, batch_size: int = 64, concurrency: int = 4, progress: bool | None = None
    ) -> R: ...
    @overload
    def __call__(
        self, texts: Iterable[Item], *, batch_size: int = 64, concurrency: int = 4, progress: bool | None = None
    ) -> "list[R]": ...


class AsyncTextCall(Protocol[R]):
    """A `TextCall` to be awaited; its texts may come from an asynchronous source."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, texts: Text, *, batch_size: int = 64, concurrency: int = 4, progress: bool | None = None
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def __call__(
        self,
        texts: Iterable[Item] | AsyncIterable[Item],
        *,
        batch_size: int = 64,
        concurrency: int = 4,
        progress: bool | None = None,
    ) -> "Coroutine[Any, Any, list[R]]": ...


class _TextMethod(Generic[R]):
    """How type checkers see a shared call for texts."""

    @overload
    def __get__(self, instance: Blocking, owner: object) -> TextCall[R]: ...
    @overload
    def __get__(self, instance: Awaiting, owner: object) -> AsyncTextCall[R]: ...
    def __get__(self, instance: Blocking | Awaiting, owner: object) -> object: ...


def shared_for_texts(flow: Callable[[Any, Any, int, int, bool | None], Flow[list[T]]]) -> _TextMethod[T]:
    """Make a flow for many texts a method of both clients, for one text too: that gives one result, not a list."""

    @functools.wraps(flow)
    def method(
        self: Any, texts: Any, *, batch_size: int = 64, concurrency: int = 4, progress: bool | None = None
    ) -> Any:
        if isinstance(texts, str | bytes):
            return self._run(_first(flow(self, [texts], batch_size, concurrency, progress)))
        return self._run(flow(self, texts, batch_size, concurrency, progress))

    return cast("_TextMethod[T]", method)


def _first(flow: Flow[list[T]]) -> Flow[T]:
    return (yield from flow)[0]
