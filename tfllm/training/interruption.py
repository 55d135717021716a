"""Between two steps: store the state now and then, and stop properly when the process is asked to."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm.errors import Preempted, TrainingError
from tfllm.training.checkpoints import Position
from tfllm.training.run_folder import RunFolder

_AGREE_EVERY = 10
"""Steps between two questions to the other workers."""


class CheckpointSaver(keras.callbacks.Callback):
    """Stores the state every so many steps or minutes, and once more on SIGTERM, after which it raises `Preempted`.

    Several workers agree first: they all store, or none does. SIGTERM ends a validation too; it is done again when the
    run goes on.

    Args:
        folder: where to.
        arrays: gives all that the next step depends on, by name.
        steps: store every so many steps, or None.
        minutes: store when so many minutes have passed, or None.
        strategy: how the model trains.
    """

    def __init__(
        self,
        folder: RunFolder,
        arrays: Callable[[], Mapping[str, np.ndarray]],
        *,
        steps: int | None,
        minutes: float | None,
        strategy: tf.distribute.Strategy,
    ) -> None:
        super().__init__()
        self.folder, self.arrays, self.steps, self.minutes = folder, arrays, steps, minutes
        self._workers = Workers(strategy)
        self._asked_to_stop = self._ends_here = False
        self._handler: Any = None
        self._epoch, self._last = 0, time.monotonic()

    def on_train_begin(self, logs: Any = None) -> None:
        """Listen for SIGTERM; signals reach the main thread alone."""
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, self._stop)

    def close(self) -> None:
        """Stop listening."""
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Store, if it is time to."""
        stop = self._workers.any(self._asked_to_stop, batch)
        due = self.minutes is not None and time.monotonic() - self._last > self.minutes * 60
        by_steps = self.steps is not None and (batch + 1) % self.steps == 0
        if not (stop or by_steps or self._workers.any(due, batch)):
            return
        self.folder.save((self._epoch, batch + 1), self.arrays())
        self._last = time.monotonic()
        if stop:
            self._end(f"step {batch + 1} of epoch {self._epoch + 1}")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """End the validation, if a worker was asked to stop."""
        if self._workers.any(self._asked_to_stop, batch):
            self.model.stop_evaluating = self._ends_here = True

    def on_test_end(self, logs: Any = None) -> None:
        """Store the end of the epoch's steps, if the validation was ended."""
        if self._ends_here:
            self.folder.save((self._epoch, self.params["work"].steps), self.arrays())
            self._end(f"the last step of epoch {self._epoch + 1}")

    def _end(self, place: str) -> None:
        self._workers.wait_for_all()  # the first one may still write
        raise Preempted(
            f"Asked to stop by SIGTERM. Stored the run in '{self.folder.path}' after {place}; the same call goes on "
            "from there."
        )

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._asked_to_stop = True


class Workers:
    """The processes that train together.

    Args:
        strategy: how the model trains.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy
        self.several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self._sum = tf.function(self._sum_over_replicas, autograph=False)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return not self.several or self._strategy.cluster_resolver.task_id == 0

    def any(self, flag: bool, step: int) -> bool:
        """Whether some worker says yes; several workers ask each other at every tenth step only."""
        if not self.several:
            return flag
        return step % _AGREE_EVERY == 0 and float(self._sum(tf.constant(float(flag)))) > 0

    def wait_for_all(self) -> None:
        """Wait until all workers have come here: what the first one wrote before is then there."""
        if self.several:
            self._sum(tf.constant(0.0)).numpy()

    def require_one_position(self, position: Position, folder: Path) -> None:
        """Require that all workers go on from the same place.

        Args:
            position: this worker's.
            folder: its run folder, for the message.

        Raises:
            TrainingError: they do not, so they do not share the folder.
        """
        if not self.several:
            return
        workers = self._strategy.cluster_resolver.cluster_spec().num_tasks("worker")
        mine = np.zeros((workers, 2), np.float32)
        mine[self._strategy.cluster_resolver.task_id] = position
        here = self._strategy.num_replicas_in_sync // workers  # each replica brings what its worker does
        positions = (self._sum(tf.constant(mine)).numpy() / here).astype(int).tolist()
        if all(each == positions[0] for each in positions):
            return
        places = "; ".join(
            f"worker {worker}: {done} epochs and {steps} steps" for worker, (done, steps) in enumerate(positions)
        )
        raise TrainingError(
            f"Expected all workers to go on from one place of the run in '{folder}'. Received: {places}. run_dir has "
            "to be one folder that all workers share."
        )

    def _sum_over_replicas(self, value: tf.Tensor) -> tf.Tensor:
        return self._strategy.reduce("SUM", self._strategy.run(lambda: value), axis=None)
