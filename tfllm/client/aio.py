"""The client for event loops: what `Client` does, with `await`."""

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self, overload

from tfllm.client import calls, frames
from tfllm.client.addresses import Address
from tfllm.client.aio_transport import AsyncTransport, GrpcAioTransport
from tfllm.client.bulk import OnError, in_order_async
from tfllm.client.calls import Item, Target, Text
from tfllm.client.config import ConnectionConfig
from tfllm.client.flows import Awaiting
from tfllm.client.model_calls import ModelCalls
from tfllm.client.session import Session
from tfllm.errors import CallError
from tfllm.results import Result

if TYPE_CHECKING:
    import pandas as pd


class AsyncClient(Awaiting, ModelCalls):
    """A client for asyncio: the methods of `Client`, with `await`.

    It belongs to the event loop of its first call. Many tasks may use it at the same time. Use it as an asynchronous
    context manager, or await `close`.

    Args:
        address: where the servers are; see `Client`.
        model: the model's name on the server.
        version: a version number; the newest without one.
        label: a version label such as `"stable"`, instead of a number.
        signature: the signature to call; `serving_default` without one.
        timeout: the seconds that one call may take in all; `None` waits for ever. For `map`, of one request.
        connection: TLS, token, retries, keepalive; see `ConnectionConfig`.
        transport: what carries the calls; gRPC to `address` without one.

    Raises:
        ConfigError: an argument cannot be right.

    Example:
        >>> async with AsyncClient("localhost:8500", model="reviews") as client:
        ...     await client.predict(["Loved it!", "Never again."])
        [Classification(label='5', score=0.9712), Classification(label='1', score=0.9421)]
    """

    def __init__(
        self,
        address: Address,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout: float | None = 10.0,
        connection: ConnectionConfig | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        self._session = Session(address, Target(model, version, label, signature), timeout, connection)
        self._transport = GrpcAioTransport(address, connection) if transport is None else transport

    @overload
    async def predict(  # type: ignore[overload-overlap]
        self, texts: Text, *, batch_size: int = 64, concurrency: int = 4, progress: bool | None = None
    ) -> Result: ...

    @overload
    async def predict(
        self,
        texts: Iterable[Item] | AsyncIterable[Item],
        *,
        batch_size: int = 64,
        concurrency: int = 4,
        progress: bool | None = None,
    ) -> list[Result]: ...

    async def predict(
        self,
        texts: Text | Iterable[Item] | AsyncIterable[Item],
        *,
        batch_size: int = 64,
        concurrency: int = 4,
        progress: bool | None = None,
    ) -> Result | list[Result]:
        """Return the model's results for some texts; see `Client.predict`.

        Args:
            texts: one text; or any iterable, asynchronous ones too, of texts or of pairs `(text, text_pair)`.
            batch_size: how many texts go into one request at most; fewer where they are large.
            concurrency: how many requests are under way at once.
            progress: `True` shows a bar, `False` none, `None` one on a terminal or in a notebook after 2 seconds.

        Returns:
            One result for one text, else a list with one result a text, in order.

        Raises:
            InvalidInput: an item is neither text nor pair; the message names its position.
            PartialFailure: some requests failed; the error has the rows that did and the results of the others.
            CallError: any other failure; the class tells which.

        Example:
            >>> await client.predict("Great film")
            Classification(label='5', score=0.9871)
        """
        items = [texts] if isinstance(texts, str | bytes) else texts
        results = await self._run(
            self._session.results(items, batch_size, concurrency, progress, cut=self._session.chunks_async)
        )
        return results[0] if isinstance(texts, str | bytes) else results

    async def map(
        self,
        texts: Iterable[Item] | AsyncIterable[Item],
        *,
        batch_size: int = 64,
        concurrency: int = 4,
        on_error: OnError = "raise",
    ) -> AsyncIterator[Result | CallError]:
        """Yield the model's results for a stream of texts, in order and in constant memory; see `Client.map`.

        Args:
            texts: any iterable, asynchronous ones too, of texts or of pairs.
            batch_size: how many texts go into one request at most; fewer where they are large.
            concurrency: how many requests are under way at once.
            on_error: `"raise"` ends the stream at a request that failed; `"yield"` gives the error in the place of
                each of its rows, and goes on.

        Yields:
            one result a text.

        Raises:
            InvalidInput: an item is neither text nor pair; the message names its position.
            PartialFailure: a request failed; the error has the rows.

        Example:
            >>> async for result in client.map(texts):
            ...     print(result.label)
        """
        calls.check_items(texts, batch_size, concurrency)
        chunks = self._session.chunks_async(texts, batch_size)
        outcomes = in_order_async(
            lambda chunk: self._run(self._session.ask(chunk, self._session.deadline())), chunks, concurrency
        )
        async with contextlib.aclosing(outcomes):
            async for outcome in outcomes:
                for row in outcome.rows(on_error):
                    yield row

    async def to_frame(
        self,
        frame: "pd.DataFrame",
        text: str,
        text_pair: str | None = None,
        *,
        prefix: str = "",
        batch_size: int = 64,
        concurrency: int = 4,
    ) -> "pd.DataFrame":
        """Return a DataFrame with the results beside its rows (needs pandas); see `Client.to_frame`.

        Args:
            frame: the rows; it is not changed.
            text: the column of the texts.
            text_pair: the column of the second texts, for models of pairs.
            prefix: goes before the names of the new columns, where they are taken.
            batch_size: how many texts go into one request at most; fewer where they are large.
            concurrency: how many requests are under way at once.

        Returns:
            The rows with the columns `label` and `score`, the index as it was.

        Raises:
            MissingColumn: the DataFrame has no such column.
            ConfigError: it has columns of the new names; give a prefix.
            CallError: the call failed.

        Example:
            >>> await client.to_frame(pd.DataFrame({"review": ["Loved it!"]}), text="review")
                  review label   score
            0  Loved it!     5  0.9712
        """
        frames.check_columns(frame, prefix)
        texts = frames.texts_of(frame, text, text_pair)
        results = await self.predict(texts, batch_size=batch_size, concurrency=concurrency)
        return frames.with_results(frame, results, prefix)

    async def close(self, grace: float = 5.0) -> None:
        """Refuse further calls, wait for those under way, and close the connection.

        Args:
            grace: the seconds to wait; calls that are not done by then end with `Cancelled`.
        """
        await self._transport.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._session.address!r}, model={self._session.target.model!r})"
