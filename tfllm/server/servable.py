"""One loaded version of a model: its graph, and how a signature runs."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tfllm.errors import Cancelled, FailedPrecondition
from tfllm.repository import ModelVersion
from tfllm.server.observers import RequestEvent, current_event
from tfllm.server.signatures import DEFAULT_SIGNATURE, Array, Signature

RunStep = Callable[[tuple[str, ...], tuple[str, ...], Sequence[Array]], list[Array]]


class Graph(Protocol):
    """What a version computes with; see `SessionGraph`."""

    signatures: dict[str, Signature]

    def run(self, feeds: tuple[str, ...], fetches: tuple[str, ...], arrays: Sequence[Array]) -> list[Any]:
        """Run the graph between named tensors."""

    def close(self) -> None:
        """Free the memory."""


class Door(Protocol):
    """Where requests wait before they run: for their batch (`Batcher`), or for their turn (`TurnDoor`)."""

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], event: RequestEvent) -> list[Array]:
        """Run a request once it may, and fill its times in."""


class Servable:
    """A model version that is loaded and can be run by many threads at once.

    Args:
        source: the version on disk.
        graph: what was loaded from there.

    Attributes:
        name: the model's name.
        version: the version number.
        signatures: signature name -> signature.
    """

    def __init__(self, source: ModelVersion, graph: Graph) -> None:
        self.name = source.name
        self.version = source.version
        self.signatures = graph.signatures
        self._graph: Graph | None = graph
        self._door: Door | None = None

    def join(self, door: Door) -> None:
        """Let requests wait at a door from now on, and not run at once."""
        self._door = door

    def signature(self, name: str) -> Signature:
        """Return a signature, the default one for an empty name.

        Raises:
            FailedPrecondition: there is no such signature.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise FailedPrecondition(f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def run(self, signature: Signature, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Run a signature.

        Args:
            signature: one of this servable's signatures.
            inputs: input alias -> array, one for each input.
            outputs: the output aliases to return; all if none are named.

        Raises:
            CallError: the request does not fit, or the graph failed.
        """
        event = current_event()
        event.signature, event.inputs = signature.name, inputs
        aliases = signature.choose_outputs(outputs)
        signature.check_dtypes(inputs)
        signature.check_texts(inputs)
        feeds = {feed: inputs[alias] for alias, feed in signature.feeds.items()}
        values = self.run_tensors(feeds, [signature.fetches[alias] for alias in aliases])
        event.outputs = dict(zip(aliases, values, strict=True))
        return event.outputs

    def run_tensors(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Run the graph between tensors that are named as the graph names them.

        Args:
            feeds: tensor name -> array.
            fetches: the names of the tensors to return.

        Raises:
            CallError: the graph failed.
        """
        event = current_event()
        if (refusal := event.refusal()) is not None:
            raise refusal
        door = self._door  # which `close` may take away meanwhile
        if door is not None:
            return door.run(feeds, fetches, event)
        return run_alone(self.run_step, feeds, fetches, event)

    def run_step(self, feeds: tuple[str, ...], fetches: tuple[str, ...], arrays: Sequence[Array]) -> list[Array]:
        """Run the graph now, in this thread, for nobody in particular; arguments and errors as in `run_tensors`."""
        graph = self._graph
        if graph is None:
            raise Cancelled("The model has been unloaded.")
        return [_array(value) for value in graph.run(feeds, fetches, arrays)]

    def close(self) -> None:
        """Free the model's memory; runs under way end with `Cancelled`. A second call does nothing."""
        graph, self._graph = self._graph, None
        self._door = None  # it holds this object: without it, nothing waits for the garbage collector
        if graph is not None:
            graph.close()


def run_alone(run: RunStep, feeds: Mapping[str, Array], fetches: Sequence[str], event: RequestEvent) -> list[Array]:
    """Run a request by itself, now, and fill its rows and its time in."""
    event.rows = event.batch_rows = count_rows(feeds.values())
    start = time.perf_counter()
    try:
        return run(tuple(feeds), tuple(fetches), list(feeds.values()))
    finally:
        event.run_seconds += time.perf_counter() - start


def count_rows(arrays: Iterable[Array]) -> int:
    """Return the size of the first dimension of inputs, 1 if the first of them has none."""
    first = next(iter(arrays), None)
    return len(first) if first is not None and first.ndim else 1


def _array(value: Any) -> Array:
    """Return a session's value as an array; a text without dimensions comes as plain `bytes`."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
