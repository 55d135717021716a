"""Between two steps: store the state now and then, and stop properly when the process is asked to."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm.errors import Preempted
from tfllm.training.checkpoints import Checkpoints

_AGREE_EVERY = 10
"""Steps between two questions to the other workers."""


class CheckpointSaver(keras.callbacks.Callback):
    """Stores the state every so many steps or minutes, and once more on SIGTERM, after which it raises `Preempted`.

    Several workers agree first: they all store, or none does.

    Args:
        checkpoints: where to.
        arrays: gives all that the next step depends on, by name.
        steps: store every so many steps, or None.
        minutes: store when so many minutes have passed, or None.
        strategy: how the model trains.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        arrays: Callable[[], Mapping[str, np.ndarray]],
        *,
        steps: int | None,
        minutes: float | None,
        strategy: tf.distribute.Strategy,
    ) -> None:
        super().__init__()
        self.checkpoints, self.arrays, self.steps, self.minutes = checkpoints, arrays, steps, minutes
        self._workers = Workers(strategy)
        self._asked_to_stop = False
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
        position = (self._epoch, batch + 1)
        self.checkpoints.save(position, self.arrays())
        self._last = time.monotonic()
        if stop:
            raise Preempted(
                f"Asked to stop by SIGTERM. Stored the run in '{self.checkpoints.folder}' after step {batch + 1} of "
                f"epoch {self._epoch + 1}; the same call goes on from there."
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
        self._count = tf.function(self._count_flags, autograph=False)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return not self.several or self._strategy.cluster_resolver.task_id == 0

    def any(self, flag: bool, step: int) -> bool:
        """Whether some worker says yes; several workers ask each other at every tenth step only."""
        if not self.several:
            return flag
        return step % _AGREE_EVERY == 0 and float(self._count(tf.constant(float(flag)))) > 0

    def _count_flags(self, flag: tf.Tensor) -> tf.Tensor:
        return self._strategy.reduce("SUM", self._strategy.run(lambda: flag), axis=None)
