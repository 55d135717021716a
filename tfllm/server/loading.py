"""What happens to a version between the disk and its first request: load, warm up, join the batches."""

import os
import time
from collections.abc import Callable

from tfllm.errors import ConfigError
from tfllm.memory import give_back
from tfllm.repository import ModelVersion
from tfllm.server.batch_scheduler import BatchScheduler
from tfllm.server.config import ServerConfig
from tfllm.server.servable import Graph, Servable
from tfllm.server.session_graph import SessionGraph, SessionThreads
from tfllm.server.turns import Turns
from tfllm.server.warmup import WarmupEvent, warm_up

_REST_SECONDS = 0.1


class Loader:
    """Loads versions of models.

    Args:
        config: the server's settings.
        batching: what puts requests together into batches, if anything does.
        tell: told of each warm-up.
        busy: says whether requests are under way.
    """

    def __init__(
        self,
        config: ServerConfig,
        batching: BatchScheduler | None,
        tell: Callable[[WarmupEvent], None],
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config = config
        self._batching = batching
        self._tell = tell
        self._busy = busy
        self._threads = session_threads(config)
        at_once = self._threads.inter_op or os.cpu_count() or 1
        self._turns = Turns(at_once) if at_once > 0 else None
        self._tags = [tag for tag in config.saved_model_tags.split(",") if tag]

    def __call__(self, source: ModelVersion) -> Servable:
        """Load a version and make it ready for requests.

        Raises:
            CallError: it cannot be loaded, or its warm-up failed.
        """
        servable = Servable(source, self._open(source))
        try:
            if self._config.enable_model_warmup:
                iterations = self._config.num_request_iterations_for_warmup or 1
                warm_up(servable, source, iterations=iterations, tell=self._tell, busy=self._busy)
            give_back()
            # Only now: a slow first run must not hold up the requests of others.
            if self._batching is not None:
                servable.join(self._batching.batcher(source, servable.run_step))
            elif self._turns is not None:
                servable.join(self._turns.door(source.name, servable.run_step))
        except BaseException:
            servable.close()
            raise
        return servable

    def _open(self, source: ModelVersion) -> Graph:
        if self._config.prefer_tflite_model:
            from tfllm.server import tflite_graph  # what it imports takes a second

            file = source.path / tflite_graph.FILE
            if file.exists():
                return tflite_graph.TfliteGraph(file)
        return SessionGraph(source, self._threads, self._tags, self._rest)

    def _rest(self) -> None:
        """Leave time to the requests that have waited for the interpreter meanwhile."""
        if self._busy():
            time.sleep(_REST_SECONDS)


def session_threads(config: ServerConfig) -> SessionThreads:
    """Return the threads of sessions that a server's settings describe.

    Raises:
        ConfigError: they contradict each other.
    """
    both = config.tensorflow_session_parallelism
    inter, intra = config.tensorflow_inter_op_parallelism, config.tensorflow_intra_op_parallelism
    if not both:
        return SessionThreads(inter, intra)
    if (inter, intra) != (ServerConfig.tensorflow_inter_op_parallelism, ServerConfig.tensorflow_intra_op_parallelism):
        raise ConfigError(
            "Expected tensorflow_session_parallelism, or tensorflow_inter_op_parallelism and "
            f"tensorflow_intra_op_parallelism. Received: {both}, {inter} and {intra}."
        )
    return SessionThreads(both, both)
