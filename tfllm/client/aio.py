"""The client for event loops: what `Client` does, with `await`."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, overload

import numpy.typing as npt

from tfllm.client import calls, frames
from tfllm.client.addresses import Address
from tfllm.client.aio_transport import AsyncTransport, GrpcAioTransport
from tfllm.client.bulk import Collected, OnError, in_order_async
from tfllm.client.callers import AsyncCaller
from tfllm.client.calls import Arrays, Item, Target, Text
from tfllm.client.config import ConnectionConfig
from tfllm.client.metadata import ModelMetadata, VersionStatus
from tfllm.client.progress import ProgressBar
from tfllm.client.session import Session, ready_pauses
from tfllm.errors import CallError, ModelNotFound, ServerUnavailable
from tfllm.results import Result

if TYPE_CHECKING:
    import pandas as pd


class AsyncClient:
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
        carrier = GrpcAioTransport(address, connection) if transport is None else transport
        self._caller = AsyncCaller(self._session, carrier)

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
        calls.check_items(items, batch_size, concurrency)
        deadline, collected = self._session.deadline(), Collected(items)
        chunks = self._session.chunks_async(items, batch_size)
        outcomes = in_order_async(lambda chunk: self._caller.ask(chunk, deadline), chunks, concurrency)
        async with contextlib.aclosing(outcomes):
            with ProgressBar(items, progress) as bar:
                async for outcome in outcomes:
                    if not collected.add(outcome):
                        break
                    bar.update(collected.rows)
        results = collected.results()
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
        outcomes = in_order_async(lambda chunk: self._caller.ask(chunk, self._session.deadline()), chunks, concurrency)
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

    async def predict_arrays(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        signature: str | None = None,
        outputs: Iterable[str] | None = None,
    ) -> Arrays:
        """Return a signature's outputs for named arrays, for any model; see `Client.predict_arrays`.

        Args:
            inputs: input name -> array, of the dtype that the signature takes; text as `str` or `bytes`.
            signature: the signature to call, instead of the client's.
            outputs: the outputs to answer with; all without it.

        Returns:
            Output name -> array; text comes as `bytes` in an object array.

        Raises:
            InvalidInput: an array does not fit; the message names the model's inputs and outputs.
            CallError: the call failed.

        Example:
            >>> await client.predict_arrays({"x": np.float32([1, 2])}, outputs=["y"])
            {'y': array([2.5, 3. ], dtype=float32)}
        """
        target, request = self._session.arrays_call(inputs, signature, outputs)
        return calls.outputs_of(await self._caller.predict(target, request, self._session.deadline()))

    async def status(self) -> list[VersionStatus]:
        """Return the state of each version of the model, newest first.

        Raises:
            ModelNotFound: the server knows no version of the model.
            CallError: the call failed.
        """
        return await self._caller.status(self._session.timeout)

    async def metadata(self) -> ModelMetadata:
        """Return the model's signatures: their inputs and outputs, with dtype and shape.

        Raises:
            ModelNotFound: the server has no such model or version.
            CallError: the call failed.
        """
        return await self._caller.metadata(self._session.target, self._session.timeout)

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until the server answers and has the model.

        Args:
            timeout: the seconds to wait at most.

        Raises:
            Timeout: the server or the model was not there in time.
            CallError: the server refuses to say.
        """
        deadline = self._session.deadline(timeout)
        for pause in ready_pauses():
            with contextlib.suppress(ServerUnavailable, ModelNotFound):  # what a server says while it starts
                if self._session.is_ready(await self._caller.status(deadline.remaining())):
                    return
            await asyncio.sleep(deadline.at_most(pause))

    async def close(self, grace: float = 5.0) -> None:
        """Refuse further calls, wait for those under way, and close the connection.

        Args:
            grace: the seconds to wait; calls that are not done by then end with `Cancelled`.
        """
        await self._caller.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._session.address!r}, model={self._session.target.model!r})"
