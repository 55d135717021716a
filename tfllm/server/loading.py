"""What happens to a version between the disk and its first request: load, warm up, join the batches."""

from collections.abc import Callable

from tfllm.repository import ModelVersion
from tfllm.server.batch_scheduler import BatchScheduler
from tfllm.server.config import ServerConfig
from tfllm.server.servable import Servable, SessionThreads
from tfllm.server.warmup import WarmupEvent, warm_up


class Loader:
    """Loads versions of models.

    Args:
        config: the server's settings.
        batching: what puts requests together into batches, if anything does.
        tell: told of each warm-up.
    """

    def __init__(
        self, config: ServerConfig, batching: BatchScheduler | None, tell: Callable[[WarmupEvent], None]
    ) -> None:
        self._config = config
        self._batching = batching
        self._tell = tell
        self._threads = SessionThreads(config.tensorflow_inter_op_parallelism, config.tensorflow_intra_op_parallelism)

    def __call__(self, source: ModelVersion) -> Servable:
        """Load a version and make it ready for requests.

        Raises:
            CallError: it cannot be loaded, or its warm-up failed.
        """
        servable = Servable(source, self._threads)
        try:
            if self._config.enable_model_warmup:
                iterations = self._config.num_request_iterations_for_warmup or 1
                warm_up(servable, source, iterations=iterations, tell=self._tell)
            if self._batching is not None:  # only now: a slow first run must not hold up the batches of others
                servable.join(self._batching.batcher(source, servable.run_step))
        except BaseException:
            servable.close()
            raise
        return servable
