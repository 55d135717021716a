"""The client for event loops: what `Client` does, with `await`."""

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Self

from tfllm.client import calls
from tfllm.client.addresses import Address, is_rest
from tfllm.client.aio_transport import AsyncTransport, GrpcAioTransport
from tfllm.client.bulk import OnError, in_order_async, require_on_error
from tfllm.client.calls import Item, Target
from tfllm.client.config import ConnectionConfig
from tfllm.client.flows import Awaiting
from tfllm.client.model_calls import ModelCalls
from tfllm.client.session import Session
from tfllm.client.text_calls import TextCalls
from tfllm.errors import CallError
from tfllm.results import Result


class AsyncClient(Awaiting, TextCalls, ModelCalls):
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
        self._cut = self._session.chunks_async
        self._transport = transport or _transport(address, connection)

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
            ConfigError: `on_error` is neither.
            InvalidInput: an item is neither text nor pair; the message names its position.
            PartialFailure: a request failed; the error has the rows.

        Example:
            >>> async for result in client.map(texts):
            ...     print(result.label)
        """
        calls.check_items(texts, batch_size, concurrency)
        require_on_error(on_error)
        chunks = self._session.chunks_async(texts, batch_size)
        outcomes = in_order_async(
            lambda chunk: self._run(self._session.ask(chunk, self._session.deadline())), chunks, concurrency
        )
        async with contextlib.aclosing(outcomes):
            async for outcome in outcomes:
                for row in outcome.rows(on_error):
                    yield row

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


def _transport(address: Address, connection: ConnectionConfig | None) -> AsyncTransport:
    if not is_rest(address):
        return GrpcAioTransport(address, connection)
    from tfllm.client.rest import AsyncRestTransport

    return AsyncRestTransport(str(address), connection)
