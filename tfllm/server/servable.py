"""One loaded version of a model: its graph, its session, and how a signature runs.

The model is loaded as TensorFlow Serving loads it, into a graph and a session of its own. So models of TensorFlow 1 and
2 both work, and what the graph says about a bad input is the same text.
"""

import inspect
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]
import tensorflow_text  # type: ignore[import-untyped]  # noqa: F401  (its operators)
from tensorflow.core.protobuf import config_pb2  # type: ignore[import-untyped]

from tfllm.errors import CallError, FailedPrecondition, call_error
from tfllm.repository import ModelVersion
from tfllm.server.batch_scheduler import Batcher
from tfllm.server.observers import current_event
from tfllm.server.signatures import DEFAULT_SIGNATURE, Array, Signature
from tfllm.wire import messages

_CODE_NAMES = {number: name for name, number in messages.CODES.items()}


@dataclass(frozen=True)
class SessionThreads:
    """The threads that all sessions of the process share; the first session that runs decides.

    Attributes:
        inter_op: how many operators run at once; below 0, each request runs in the thread that brought it.
        intra_op: how many threads one operator uses; 0 for one a core.
    """

    inter_op: int = 1
    intra_op: int = 0


class Servable:
    """A model version that is loaded and can be run by many threads at once.

    Args:
        source: the version on disk.
        threads: the threads of the session.

    Attributes:
        name: the model's name.
        version: the version number.
        signatures: signature name -> signature.

    Raises:
        CallError: TensorFlow cannot load the version.
    """

    def __init__(self, source: ModelVersion, threads: SessionThreads) -> None:
        self.name = source.name
        self.version = source.version
        config = tf.compat.v1.ConfigProto(
            inter_op_parallelism_threads=threads.inter_op, intra_op_parallelism_threads=threads.intra_op
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            self.signatures = _load(self._session, source)
        except BaseException:
            self._session.close()
            raise
        self._steps: dict[tuple[tuple[str, ...], tuple[str, ...]], Callable[..., list[Any]]] = {}
        self._lock = threading.Lock()
        self._batcher: Batcher | None = None

    def join(self, batcher: Batcher) -> None:
        """Run requests in batches from now on, not each alone."""
        self._batcher = batcher

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
        if self._batcher is not None:
            return self._batcher.run(feeds, fetches, event)
        event.rows = event.batch_rows = count_rows(feeds.values())
        start = time.perf_counter()
        try:
            return self.run_step(tuple(feeds), tuple(fetches), list(feeds.values()))
        finally:
            event.run_seconds += time.perf_counter() - start

    def run_step(self, feeds: tuple[str, ...], fetches: tuple[str, ...], arrays: Sequence[Array]) -> list[Array]:
        """Run the graph now, in this thread, for nobody in particular; arguments and errors as in `run_tensors`."""
        try:
            values = self._step(feeds, fetches)(*arrays)
        except tf.errors.OpError as error:
            raise _call_error(error) from error
        return [_array(value) for value in values]

    def close(self) -> None:
        """Free the model's memory; runs under way end with `Cancelled`."""
        self._session.close()

    def _step(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Callable[..., list[Any]]:
        """Return the compiled step between some tensors.

        The public `Session.make_callable` goes through `Session.run`, which checks each array's shape against the
        graph's placeholder and so refuses what TensorFlow Serving answers; it is also slower.
        """
        key = (feeds, fetches)
        if key not in self._steps:
            with self._lock:
                if key not in self._steps:  # this can take seconds: steps that are there do not wait for it
                    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                    self._steps[key] = self._session._make_callable_from_options(options)
        return self._steps[key]


def _load(session: Any, source: ModelVersion) -> dict[str, Signature]:
    load = inspect.unwrap(tf.compat.v1.saved_model.load)  # without the advice to move to tf.saved_model.load
    try:
        with session.graph.as_default():
            graph = load(session, [tf.saved_model.SERVING], str(source.path))
    except tf.errors.OpError as error:
        raise _call_error(error) from error
    except (OSError, RuntimeError, ValueError) as error:  # no SavedModel there, no such tag, an unknown operator
        raise FailedPrecondition(str(error)) from error
    return {name: Signature(name, graph.signature_def[name]) for name in sorted(graph.signature_def)}


def count_rows(arrays: Iterable[Array]) -> int:
    """Return the size of the first dimension of inputs, 1 if the first of them has none."""
    first = next(iter(arrays), None)
    return len(first) if first is not None and first.ndim else 1


def _call_error(error: tf.errors.OpError) -> CallError:
    return call_error(_CODE_NAMES.get(error.error_code, "UNKNOWN"), error.message)


def _array(value: Any) -> Array:
    """Return a session's value as an array; a text without dimensions comes as plain `bytes`."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
