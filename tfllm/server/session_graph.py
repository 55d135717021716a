"""The graph of a SavedModel in a session of its own, as TensorFlow Serving has it.

So models of TensorFlow 1 and 2 both work, and what the graph says about a bad input is the same text.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf  # type: ignore[import-untyped]
import tensorflow_text  # type: ignore[import-untyped]  # noqa: F401  (its operators)
from tensorflow.core.protobuf import config_pb2  # type: ignore[import-untyped]
from tensorflow.python.framework import ops  # type: ignore[import-untyped]

from tfllm.errors import CallError, Cancelled, call_error
from tfllm.memory import give_back
from tfllm.repository import ModelVersion
from tfllm.server.graph_import import import_graph, read_meta_graph, restore
from tfllm.server.signatures import Array, Signature
from tfllm.wire import messages

_CODE_NAMES = {number: name for name, number in messages.CODES.items()}


@dataclass(frozen=True)
class SessionThreads:
    """The threads that all sessions of the process share; the first session that runs decides.

    Attributes:
        inter_op: how many operators run at once; below 2, a graph runs in the thread that brought the request, one
            operator after the other, and does not wait for other graphs.
        intra_op: how many threads one operator uses; 0 for one a core.
    """

    inter_op: int = 0
    intra_op: int = 0


class SessionGraph:
    """A SavedModel's graph that can be run by many threads at once.

    Args:
        source: the version on disk.
        threads: the threads of the session.
        tags: the tags of the graph to load.
        rest: called between steps of loading that keep the interpreter from all other threads.

    Attributes:
        signatures: signature name -> signature.

    Raises:
        CallError: TensorFlow cannot load the version.
    """

    def __init__(
        self,
        source: ModelVersion,
        threads: SessionThreads,
        tags: Sequence[str] = (tf.saved_model.SERVING,),
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        config = tf.compat.v1.ConfigProto(
            inter_op_parallelism_threads=threads.inter_op if threads.inter_op > 1 else -1,
            intra_op_parallelism_threads=threads.intra_op,
        )
        self._session: Any = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        self._steps: dict[tuple[tuple[str, ...], tuple[str, ...]], Callable[..., list[Any]]] = {}
        self._lock = threading.Lock()
        try:
            about = self._load(source, tags, rest)
        except BaseException:
            self.close()
            raise
        self.signatures = {name: Signature(name, about.signature_def[name]) for name in sorted(about.signature_def)}

    def run(self, feeds: tuple[str, ...], fetches: tuple[str, ...], arrays: Sequence[Array]) -> list[Any]:
        """Run the graph between tensors that are named as the graph names them.

        Args:
            feeds: the names of the tensors to give.
            fetches: the names of the tensors to return.
            arrays: what to give.

        Raises:
            CallError: the graph failed.
        """
        try:
            return self._step(feeds, fetches)(*arrays)
        except tf.errors.OpError as error:
            raise _call_error(error) from error

    def close(self) -> None:
        """Free the memory, now and not when the garbage collector comes; runs under way end with `Cancelled`.

        `Session.close` frees nothing: its memory goes with the object, and that of the graph once nothing in it names
        the graph any more.
        """
        session = self._session
        if session is None:
            return
        session.close()  # before the lock, which a step that is being made may hold for seconds
        with self._lock:
            self._session = None
            self._steps = {}
            ops.dismantle_graph(session.graph)
            del session
        give_back()

    def _load(self, source: ModelVersion, tags: Sequence[str], rest: Callable[[], None]) -> Any:
        try:
            about, graph = read_meta_graph(source.path, tags)
            import_graph(self._session, graph, rest)
            del graph  # as large as the weights, and not needed in what follows
            restore(self._session, about, source.path)
        except tf.errors.OpError as error:
            raise _call_error(error) from error
        return about

    def _step(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Callable[..., list[Any]]:
        """Return the compiled step between some tensors.

        The public `Session.make_callable` goes through `Session.run`, which checks each array's shape against the
        graph's placeholder and so refuses what TensorFlow Serving answers; it is also slower.
        """
        key = (feeds, fetches)
        step = self._steps.get(key)
        if step is not None:
            return step
        with self._lock:
            step = self._steps.get(key)
            if step is None:  # this can take seconds: steps that are there do not wait for it
                if self._session is None:
                    raise Cancelled("The model has been unloaded.")
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                step = self._steps[key] = self._session._make_callable_from_options(options)
            return step


def _call_error(error: tf.errors.OpError) -> CallError:
    return call_error(_CODE_NAMES.get(error.error_code, "UNKNOWN"), error.message)
