"""The threads that run batches, and the door through which a model version's requests reach them."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from tfllm.errors import ConfigError, FailedPrecondition
from tfllm.repository import CONTRACT_FILE, ModelVersion
from tfllm.server.batch_arrays import Array, join
from tfllm.server.batching import BatchEvent, BatchQueue, Task, run_batch
from tfllm.server.batching_config import BatchingConfig, own_batching, read_batching_file
from tfllm.server.config import ServerConfig
from tfllm.server.observers import RequestEvent
from tfllm.server.servable import RunStep

logger = logging.getLogger(__name__)


class BatchScheduler:
    """Runs batches of all models in some threads, which take turns between the models.

    Args:
        config: the server's parameters.
        per_model: whether a version may bring its own parameters.
        on_batch: told of every batch.
    """

    def __init__(
        self,
        config: BatchingConfig,
        *,
        per_model: bool = False,
        on_batch: Callable[[BatchEvent], None] = lambda event: None,
    ) -> None:
        self._config = config
        self._per_model = per_model
        self._on_batch = on_batch
        self._changed = threading.Condition()
        self._waiting: list[BatchQueue] = []
        self._turns: dict[str, int] = {}
        self._turn = 0
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, name=f"tfllm-batch-{number}", daemon=True)
            for number in range(config.threads)
        ]
        for thread in self._threads:
            thread.start()

    def batcher(self, source: ModelVersion, run: RunStep) -> "Batcher":
        """Return the door for the requests of a model version.

        Args:
            source: the version on disk.
            run: runs a step of its graph.

        Raises:
            FailedPrecondition: the version's own parameters are wrong.
        """
        try:
            config = own_batching(self._config, source.path) if self._per_model else self._config
        except ConfigError as error:
            raise FailedPrecondition(str(error)) from error
        return Batcher(self, source, config, run)

    def submit(self, queue: BatchQueue, tasks: Sequence[Task]) -> None:
        """Add the tasks of a request to a queue.

        Raises:
            Overloaded: there is no room.
        """
        with self._changed:
            queue.add(tasks)
            if queue not in self._waiting:
                self._waiting.append(queue)
            self._changed.notify()

    def waiting(self) -> dict[str, int]:
        """Return how many rows wait for each model."""
        with self._changed:
            found: dict[str, int] = {}
            for queue in self._waiting:
                found[queue.model] = found.get(queue.model, 0) + queue.rows
            return found

    def stop(self) -> None:
        """End the threads once the batches that wait have been run."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                queue = self._next()
                if queue is None:
                    return
                tasks = self._take(queue)
            if tasks:
                event = run_batch(queue, tasks)
                try:
                    self._on_batch(event)
                except Exception:
                    logger.exception("An observer of batches failed")

    def _next(self) -> BatchQueue | None:
        """Wait for a queue whose batch may run, of the model whose last turn is the longest ago."""
        while True:
            now = time.monotonic()
            soonest: float | None = None
            ready: BatchQueue | None = None
            for queue in self._waiting:
                left = 0.0 if self._stopped else queue.seconds_until_ready(now)
                if left > 0:
                    soonest = left if soonest is None else min(soonest, left)
                elif ready is None or self._last(queue) < self._last(ready):
                    ready = queue
            if ready is not None:
                return ready
            if self._stopped:
                return None
            self._changed.wait(soonest)

    def _last(self, queue: BatchQueue) -> int:
        return self._turns.get(queue.model, 0)

    def _take(self, queue: BatchQueue) -> list[Task]:
        self._turn += 1
        self._turns[queue.model] = self._turn
        tasks = []
        for task in queue.take():
            refusal = task.event.refusal()
            if refusal is None:
                tasks.append(task)
            else:
                task.finish(refusal)
        if not queue.tasks:
            self._waiting.remove(queue)
        else:
            self._changed.notify()  # there may be enough for a second thread
        return tasks


class Batcher:
    """The door through which the requests of one model version reach the batch threads.

    Args:
        scheduler: the threads.
        source: the version on disk.
        config: when a batch is run, and what may be in it.
        run: runs a step of the graph.
    """

    def __init__(self, scheduler: BatchScheduler, source: ModelVersion, config: BatchingConfig, run: RunStep) -> None:
        self._scheduler = scheduler
        self._source = source
        self._config = config
        self._run = run
        self._most_tokens = _max_length(source)
        self._queues: dict[tuple[tuple[str, ...], tuple[str, ...]], BatchQueue] = {}

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], event: RequestEvent) -> list[Array]:
        """Run a request in batches, and wait for it.

        Args:
            feeds: tensor name -> array.
            fetches: the names of the tensors to return.
            event: the request; queue and run time are filled in.

        Raises:
            CallError: there is no room, the deadline passed, or the graph failed.
        """
        queue = self._queue(tuple(feeds), tuple(fetches))
        tasks = queue.tasks_of(list(feeds.values()), event)
        self._scheduler.submit(queue, tasks)
        parts = [task.wait() for task in tasks]
        event.batch_rows = max(task.run_rows for task in tasks)
        event.queue_seconds += max(task.ran - task.since for task in tasks)
        event.run_seconds += sum(task.took for task in tasks)
        if len(parts) == 1:
            return parts[0]
        return join(parts)

    def _queue(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> BatchQueue:
        found = self._queues.get((feeds, fetches))
        if found is None:
            found = BatchQueue(
                self._source.name,
                self._config,
                lambda arrays: self._run(feeds, fetches, arrays),
                self._most_tokens,
            )
            found = self._queues.setdefault((feeds, fetches), found)  # another thread may have been faster
        return found


def make_scheduler(config: ServerConfig, on_batch: Callable[[BatchEvent], None]) -> BatchScheduler | None:
    """Return the batch threads that a server's settings ask for, if they do.

    Raises:
        ConfigError: the settings cannot be right together, or the parameters file cannot be used.
    """
    if not config.enable_batching:
        if config.batching_parameters_file:
            raise ConfigError(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        if config.batch_token_budget or config.enable_per_model_batching_parameters:
            raise ConfigError(
                "Expected enable_batching with batch_token_budget and enable_per_model_batching_parameters. "
                "Received: one of them without it."
            )
        return None
    if config.batching_parameters_file:
        batching = read_batching_file(config.batching_parameters_file, config.batch_token_budget)
    else:
        batching = BatchingConfig(token_budget=config.batch_token_budget)
    return BatchScheduler(batching, per_model=config.enable_per_model_batching_parameters, on_batch=on_batch)


def _max_length(source: ModelVersion) -> int | None:
    """Return how many tokens of a text the model reads, if its contract says so."""
    try:
        length = json.loads((source.path / CONTRACT_FILE).read_text("utf-8")).get("max_length")
    except (OSError, ValueError, AttributeError):  # not one of ours
        return None
    return length if isinstance(length, int) and length > 0 else None
