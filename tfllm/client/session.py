"""What both clients are: a target, a time limit and a connection's settings, with the flows of their calls."""

import math
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Sized
from dataclasses import replace
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from tfllm.client import calls, cutting, hints, metadata
from tfllm.client.addresses import Address, shown_address
from tfllm.client.bulk import Collected, Deadline, Outcome
from tfllm.client.calls import QUESTION_NAMES, TEXT_NAMES, Chunk, Item, Target
from tfllm.client.config import ConnectionConfig
from tfllm.client.flows import Flow, Many, Send
from tfllm.client.metadata import ModelMetadata, VersionStatus
from tfllm.errors import CallError, ConfigError, InvalidInput, ServerError
from tfllm.outputs import columns_from_outputs
from tfllm.results import Result
from tfllm.wire import messages

T = TypeVar("T")

_UNREADABLE = (InvalidInput, DecodeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What reading an answer raises that is not what its message and its signature promise."""


class Session:
    """The settings of a client, and every step of a call that moves no bytes.

    Args:
        address: where the servers are.
        target: what is called.
        timeout: the seconds a call may take.
        connection: security, retries, keepalive.

    Raises:
        ConfigError: an argument cannot be right.
    """

    def __init__(
        self, address: Address, target: Target, timeout: float | None, connection: ConnectionConfig | None
    ) -> None:
        if timeout is not None and not (timeout > 0 and math.isfinite(timeout)):
            raise ConfigError(
                f"Expected a timeout above 0 seconds, or None to wait for ever. Received: timeout={timeout}."
            )
        self.address = shown_address(address)
        self.target = target
        self.timeout = timeout
        self.connection = connection or ConnectionConfig()
        self.signatures = hints.SignatureCache()

    def deadline(self, timeout: float | None = None) -> Deadline:
        """Return a deadline that starts now: in `timeout` seconds, or in the client's own."""
        return Deadline(self.timeout if timeout is None else timeout, self.target.model, self.address)

    def chunks(
        self, items: Iterable[Item], batch_size: int, target: Target | None = None, first: int = 0
    ) -> Iterator[Chunk]:
        """Cut items into requests, as they are asked for; the first item has the position `first`.

        Raises:
            InvalidInput: the items come from an asynchronous source.
        """
        if not isinstance(items, Iterable):
            raise InvalidInput(
                "Expected an iterable of texts or of pairs of texts. "
                f"Received: an asynchronous {type(items).__name__}. Use an AsyncClient for it."
            )
        return cutting.text_chunks(target or self.target, items, batch_size, self.connection.max_request_bytes, first)

    async def chunks_async(
        self, items: Iterable[Item] | AsyncIterable[Item], batch_size: int, target: Target | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """Cut items, from an asynchronous source too, into requests, as they are asked for."""
        if not isinstance(items, AsyncIterable):
            for chunk in self.chunks(items, batch_size, target):
                yield chunk
            return
        cutter = cutting.Cutter(target or self.target, batch_size, self.connection.max_request_bytes)
        async for item in items:
            for chunk in cutter.push(item):
                yield chunk
        for chunk in cutter.flush():
            yield chunk

    def results(
        self,
        items: Any,
        batch_size: int,
        concurrency: int,
        progress: bool | None = None,
        *,
        target: Target | None = None,
        cut: Callable[..., Any],
    ) -> Flow[list[Result]]:
        """Ask for all items, some requests at a time, and return their results in order.

        Args:
            items: the texts or pairs.
            batch_size: how many go into one request at most.
            concurrency: how many requests are under way at once.
            progress: whether a bar is wanted.
            target: what to call, instead of the client's own.
            cut: `chunks`, or for event loops `chunks_async`.
        """
        calls.check_items(items, batch_size, concurrency)
        deadline, target = self.deadline(), target or self.target
        small = not progress and (type(items) is list or isinstance(items, Sized)) and len(items) <= batch_size
        if small:
            texts = calls.texts_of(target, list(items))
            if request := cutting.one_request(target, texts, self.connection.max_request_bytes):
                return (yield from self._answered(target, Chunk(0, len(items), request, texts), deadline))
        collected = Collected(items)
        if small:  # a few requests, because they are large: no threads, no bar
            for chunk in self.chunks(items, batch_size, target):
                if not collected.add((yield from self.ask(chunk, deadline, target))):
                    break
            return collected.results()
        chunks = cut(items, batch_size, target)
        yield Many(chunks, lambda chunk: self.ask(chunk, deadline, target), concurrency, items, progress, collected)
        return collected.results()

    def ask(self, chunk: Chunk, deadline: Deadline, target: Target | None = None) -> Flow[Outcome]:
        """Return what became of one request of a long call."""
        if chunk.error is not None:
            return Outcome(chunk, error=hints.explained(chunk.error, target or self.target))
        try:
            return Outcome(chunk, (yield from self._answered(target or self.target, chunk, deadline, chunk.first)))
        except CallError as error:
            return Outcome(chunk, error=error)

    def _answered(
        self, target: Target, chunk: Chunk, deadline: Deadline, done: int | None = None
    ) -> Flow[list[Result]]:
        texts = chunk.texts
        try:
            response = yield from self.send_to_signature(messages.PREDICT, target, chunk.request, deadline, done)
        except InvalidInput:
            named = self._named_as_it_takes(target)
            if named is None or len(texts) < len(named.names):
                raise
            texts = dict(zip(named.names, texts.values(), strict=True))
            request = calls.text_request(named, texts, chunk.first)
            response = yield from self.send_to_signature(messages.PREDICT, named, request, deadline, done)
        return self.read(target, lambda: calls.results_of(response, texts, chunk.count))

    def read(self, target: Target, read: Callable[[], T]) -> T:
        """Read an answer.

        Args:
            target: what was called, for the error.
            read: reads it.

        Raises:
            ServerError: the answer cannot be read.
        """
        try:
            return read()
        except ServerError as error:
            raise ServerError(error.details, model=target.model, address=self.address) from error
        except _UNREADABLE as error:
            why = error.details if isinstance(error, InvalidInput) else f"{type(error).__name__}: {error}"
            raise ServerError(
                f"Expected an answer that can be read. Received: one that cannot ({why}). "
                "Check that this is the port of a TensorFlow Serving, and that the model's outputs fit each other.",
                model=target.model,
                address=self.address,
            ) from error

    def _named_as_it_takes(self, target: Target) -> Target | None:
        """Return the target with the inputs of pairs named as its signature has them; None if there are no others.

        The signature is known here, since a call that does not fit looks it up. Later calls begin with its names.
        """
        found = self.signatures.get(target)
        signature = found and found.signatures.get(target.signature or metadata.DEFAULT_SIGNATURE)
        known = (TEXT_NAMES, QUESTION_NAMES)
        names = next((names for names in known if signature and set(names) == set(signature.inputs)), target.names)
        if names == target.names:
            return None
        named = replace(target, names=names)
        if target == self.target:
            self.target = named
        return named

    def send_to_signature(
        self, method: str, target: Target, request: bytes, deadline: Deadline, done: int | None = None
    ) -> Flow[bytes]:
        """Send a request; an error that the model's signature explains is explained."""
        calls.check_size(request, self.connection.max_request_bytes)
        timeout = deadline.remaining(done)
        try:
            response: bytes = yield Send(method, request, timeout)
            return response
        except CallError as failure:
            error = hints.explained(failure, target)
            if not hints.is_mismatch(error):
                raise error from failure.__cause__
            try:
                found = yield from self.looked_up(target, deadline)
            except CallError:
                raise error from failure.__cause__  # what the server said of the call itself matters more
            raise hints.with_signature(error, target, found, failure.hint) from failure.__cause__

    def looked_up(self, target: Target, deadline: Deadline) -> Flow[ModelMetadata]:
        """Return the signatures of the target's version, which are asked for once."""
        found = self.signatures.get(target)
        if found is None:
            found = yield from self.metadata(target, deadline.at_most(hints.LOOK_UP_SECONDS))
            self.signatures.put(target, found)
        return found

    def table_columns(self) -> Flow[tuple[str, ...]]:
        """Return the columns of a table of the model's results; none if the server does not say."""
        try:
            found = yield from self.looked_up(self.target, self.deadline())
        except CallError:
            return ()  # the call itself will say what is wrong, and the results what they are
        signature = found.signatures.get(self.target.signature or metadata.DEFAULT_SIGNATURE)
        return () if signature is None else columns_from_outputs(signature.outputs.keys())

    def send(self, method: str, target: Target, request: bytes, timeout: float | None) -> Flow[bytes]:
        """Send a request; an error says which model it is about, and what to do."""
        calls.check_size(request, self.connection.max_request_bytes)
        try:
            response: bytes = yield Send(method, request, timeout)
            return response
        except CallError as error:
            raise hints.explained(error, target) from error.__cause__

    def status(self, timeout: float | None) -> Flow[list[VersionStatus]]:
        """Return the state of each version of the model."""
        request = metadata.status_request(self.target)
        response = yield from self.send(messages.GET_MODEL_STATUS, self.target, request, timeout)
        return self.read(self.target, lambda: metadata.statuses_of(response))

    def metadata(self, target: Target, timeout: float | None) -> Flow[ModelMetadata]:
        """Return the model's signatures."""
        request = metadata.metadata_request(target)
        response = yield from self.send(messages.GET_MODEL_METADATA, target, request, timeout)
        return self.read(target, lambda: metadata.metadata_of(response))
