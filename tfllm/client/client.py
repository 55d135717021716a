"""The client: texts in, results out, over gRPC, without TensorFlow."""

import contextlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from tfllm.client import calls
from tfllm.client.addresses import Address, is_rest
from tfllm.client.bulk import OnError, in_order, require_on_error
from tfllm.client.calls import Item, Target
from tfllm.client.config import ConnectionConfig
from tfllm.client.flows import Blocking
from tfllm.client.model_calls import ModelCalls
from tfllm.client.session import Session
from tfllm.client.text_calls import TextCalls
from tfllm.client.transport import GrpcTransport, Transport
from tfllm.errors import CallError
from tfllm.results import Result


class Client(Blocking, TextCalls, ModelCalls):
    """A client of one model on a TensorFlow Serving or on tfllm's embedded server.

    One client may be used by many threads, and by a process forked between calls. It connects at the first call and
    reconnects by itself. Use it as a context manager, or call `close`.

    Args:
        address: `host:port` of the server's gRPC port; several of them, as a list or with commas between; or
            `dns:///name:port` for all servers behind a name. Several servers take turns. `http://host:port` and
            `https://host:port` are REST, for networks that let no gRPC through (needs `tfllm[rest]`).
        model: the model's name on the server.
        version: a version number; the newest without one.
        label: a version label such as `"stable"`, instead of a number.
        signature: the signature to call; `serving_default` without one.
        timeout: the seconds that one call may take in all, however many requests and attempts it is made of; `None`
            waits for ever. For `map`, which may go on for days, of one request.
        connection: TLS, token, retries, keepalive; see `ConnectionConfig`.
        transport: what carries the calls; gRPC to `address` without one.

    Raises:
        ConfigError: an argument cannot be right.

    Example:
        >>> with Client("localhost:8500", model="reviews") as client:
        ...     client.predict(["Loved it!", "Never again."])
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
        transport: Transport | None = None,
    ) -> None:
        self._session = Session(address, Target(model, version, label, signature), timeout, connection)
        self._cut = self._session.chunks
        self._transport = transport or _transport(address, connection)

    def map(
        self, texts: Iterable[Item], *, batch_size: int = 64, concurrency: int = 4, on_error: OnError = "raise"
    ) -> Iterator[Result | CallError]:
        """Yield the model's results for a stream of texts, in order and in constant memory.

        The source is read as the results are taken: `concurrency` requests ahead, no further.

        Args:
            texts: any iterable of texts or of pairs; see `predict`.
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
            >>> with open("texts.txt") as lines:
            ...     for result in client.map(lines):
            ...         print(result.label)
        """
        calls.check_items(texts, batch_size, concurrency)
        require_on_error(on_error)
        return self._map(texts, batch_size, concurrency, on_error)

    def close(self, grace: float = 5.0) -> None:
        """Refuse further calls, wait for those under way, and close the connection.

        Args:
            grace: the seconds to wait; calls that are not done by then end with `Cancelled`.

        Example:
            >>> client.close(grace=30)
        """
        self._transport.close(grace)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._session.address!r}, model={self._session.target.model!r})"

    def _map(
        self, texts: Iterable[Item], batch_size: int, concurrency: int, on_error: OnError, first: int = 0
    ) -> Iterator[Result | CallError]:
        chunks = self._session.chunks(texts, batch_size, first=first)
        outcomes = in_order(
            lambda chunk: self._run(self._session.ask(chunk, self._session.deadline())), chunks, concurrency
        )
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                yield from outcome.rows(on_error)


def _transport(address: Address, connection: ConnectionConfig | None) -> Transport:
    if not is_rest(address):
        return GrpcTransport(address, connection)
    from tfllm.client.rest import RestTransport

    return RestTransport(str(address), connection)
