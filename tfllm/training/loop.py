"""The training loop: epochs, steps, validation, and what happens between two steps.

Not `model.fit`: that cannot begin within an epoch, weighs replicas instead of rows, and fails with several workers. The
callbacks are Keras's.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm.data.passes import Passes, make_passes, plan_passes
from tfllm.data.pipeline import TrainingRows, plan_epoch, plan_in_order, row_gatherer
from tfllm.errors import NonFiniteLoss
from tfllm.tasks.base import Task
from tfllm.training.averaging import averaged
from tfllm.training.batch_lengths import BatchLengths, choose_lengths
from tfllm.training.compilation import named_refusal
from tfllm.training.epoch_work import EpochWork
from tfllm.training.executions import plan_executions
from tfllm.training.settings import FineTuneConfig
from tfllm.training.steps import Logs, Steps

_ROWS_NAMED = 8

RowsOf = Callable[[int], np.ndarray]
"""The number of a step in its epoch -> its row numbers."""


def plan_of(lengths: np.ndarray, config: FineTuneConfig, epoch: int) -> list[np.ndarray]:
    """Return the row numbers of each step of an epoch, as the settings ask."""
    return plan_epoch(lengths, config.batch_size, config.batch_tokens, seed=config.seed, epoch=epoch)


@dataclass(frozen=True)
class TrainingLoop:
    """One run's epochs.

    Attributes:
        model: a compiled task.
        steps: its steps.
        rows: the training rows.
        validation: the rows to judge each epoch by, or None.
        config: the settings.
        sample_weight: float32 `(rows,)`, or None.
    """

    model: Task
    steps: Steps
    rows: TrainingRows
    validation: TrainingRows | None
    config: FineTuneConfig
    sample_weight: np.ndarray | None = None

    def state(self) -> dict[str, keras.Variable]:
        """Return all that the next step depends on: weights, dropout's seeds, optimizer, and metrics of the epoch.

        Keras's weight files leave the seeds out, so a run continued from them would draw other dropout masks.
        """
        variables = [*self.model.variables, *self.model.optimizer.variables, *self._counts()]
        return {f"{index:04}": variable for index, variable in enumerate(variables)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the values of `state`. With several workers, all of them must ask."""
        return {name: keras.ops.convert_to_numpy(variable) for name, variable in self.state().items()}

    def build(self) -> None:
        """Make all variables, which Keras would make at the first step: a state can then be restored into them."""
        batch = row_gatherer(self.rows, sample_weight=self.sample_weight)(tf.zeros(1, tf.int64))
        with self.steps.strategy.scope():
            self.model._symbolic_build(data_batch=self.model.preprocess_samples(*batch))

    def run(self, callbacks: Iterable[keras.callbacks.Callback], position: tuple[int, int]) -> None:
        """Train from a position to the end of the last epoch, or until a callback sets `model.stop_training`.

        A callback that sets `model.stop_evaluating` ends the validation of the epoch: `on_test_end` is next.

        Args:
            callbacks: what to call between steps and epochs.
            position: epochs that are done, and steps that are done of the next one, whose state is restored.

        Raises:
            NonFiniteLoss: the loss became NaN or infinite.
        """
        first_epoch, first_step = position
        listeners = keras.callbacks.CallbackList(
            list(callbacks), model=self.model, epochs=self.config.epochs, steps=self._steps_of(first_epoch)
        )
        self.model.stop_training = False
        training = self._training(position)
        validation = None if self.validation is None else self._validation(self.validation)
        listeners.on_train_begin()
        for epoch in range(first_epoch, self.config.epochs):
            logs = self._epoch(epoch, first_step, training, listeners)
            first_step = 0
            if validation is not None:
                logs |= self._judge(*validation, listeners)
            listeners.on_epoch_end(epoch, logs)
            if self.model.stop_training:
                break
        listeners.on_train_end()

    def _judge(self, iterator: Any, passes: int, listeners: keras.callbacks.CallbackList) -> Logs:
        """Judge the model on the validation rows, or on some, if a callback sets `model.stop_evaluating`.

        In that case the state is at its end what it was before, so that it can be stored.
        """
        counts = [(variable, keras.ops.convert_to_numpy(variable)) for variable in self._counts()]
        self.model.stop_evaluating = False
        listeners.on_test_begin()
        with averaged(self.model):
            self.steps.reset()
            for batch in range(passes):
                listeners.on_test_batch_begin(batch)
                self.steps.test(iterator)
                listeners.on_test_batch_end(batch)
                if self.model.stop_evaluating:
                    break
            logs = {f"val_{name}": float(value) for name, value in self.steps.results().items()}
        if self.model.stop_evaluating:
            for variable, value in counts:
                variable.assign(value)
        listeners.on_test_end()
        return logs

    def _counts(self) -> list[keras.Variable]:
        return [variable for metric in self.steps.metrics for variable in metric.variables]

    def _steps_of(self, epoch: int) -> int:
        return len(plan_of(self.rows.lengths, self.config, epoch))

    def _training(self, position: tuple[int, int]) -> Any:
        """Return an iterator over what the steps take, from a position to the end of the last epoch."""

        def passes() -> Iterator[list[np.ndarray]]:
            first_epoch, first_step = position
            for epoch in range(first_epoch, self.config.epochs):
                yield from self._passes_of(self._plan(epoch, first_step)).rows
                first_step = 0

        return self._iterator(self.rows, passes, self._lengths(), self.sample_weight)

    def _validation(self, rows: TrainingRows) -> tuple[Any, int]:
        """Return an iterator over the rows, again and again, and how many passes are once."""
        config = self.config
        passes = self._passes(plan_in_order(rows.lengths, config.batch_size, config.batch_tokens), rows).rows
        lengths = choose_lengths(config, self.model, rows.lengths, compiled=False)
        return self._iterator(rows, lambda: itertools.cycle(passes), lengths), len(passes)

    def _epoch(self, epoch: int, first_step: int, iterator: Any, listeners: keras.callbacks.CallbackList) -> Logs:
        config = self.config
        work, counts, rows_of = self._work(epoch, first_step)
        self._begin(epoch, work, listeners)
        most, every = config.steps_per_execution, config.checkpoint_steps
        for steps in plan_executions(counts, most, first_step=first_step, ends_every=every):
            listeners.on_train_batch_begin(steps[0])
            passes = counts[steps[0] - first_step]
            with named_refusal(self.steps.jit_compile):
                if most == 1 or passes > 1:
                    logs = self.steps.train(iterator, passes)
                else:
                    logs = self.steps.train_several(iterator, len(steps))
            self._require_finite(epoch, steps, rows_of)
            listeners.on_train_batch_end(steps[-1], logs)
        return {name: float(value) for name, value in self.steps.results().items()}

    def _work(self, epoch: int, first_step: int) -> tuple[EpochWork, Sequence[int], RowsOf]:
        """Return what the steps of an epoch have to do from a step on, their passes, and what gives a step's rows."""
        plan = self._plan(epoch, first_step)
        passes = self._passes_of(plan)
        sizes = [len(rows) for rows in plan]
        before = len(self.rows.lengths) - sum(sizes)
        tokens, positions = passes.tokens(self.rows.lengths, self._lengths().round_up(self.rows.lengths))
        work = EpochWork(sizes, tokens, positions, first_step=first_step, rows_before=before)
        return work, passes.counts, lambda step: plan[step - first_step]

    def _begin(self, epoch: int, work: EpochWork, listeners: keras.callbacks.CallbackList) -> None:
        if not work.first_step:
            self.steps.reset()
        listeners.set_params({**listeners.params, "steps": work.steps, "work": work})
        listeners.on_epoch_begin(epoch)

    def _plan(self, epoch: int, first_step: int) -> list[np.ndarray]:
        """Return the row numbers of the steps of an epoch that are still to do."""
        return plan_of(self.rows.lengths, self.config, epoch)[first_step:]

    def _passes_of(self, plan: Sequence[np.ndarray]) -> Passes:
        return self._passes(plan, self.rows, accumulate=self.config.accumulate)

    def _passes(self, plan: Sequence[np.ndarray], rows: TrainingRows, accumulate: int = 1) -> Passes:
        return plan_passes(
            plan,
            rows.lengths,
            replicas=self.steps.replicas,
            accumulate=accumulate,
            max_tokens=self.config.max_tokens,
        )

    def _iterator(
        self,
        rows: TrainingRows,
        passes: Callable[[], Iterable[list[np.ndarray]]],
        lengths: BatchLengths,
        sample_weight: np.ndarray | None = None,
    ) -> Any:
        model = self.model
        pad_token_id = model.preprocessor.tokenizer.pad_token_id

        @tf.autograph.experimental.do_not_convert
        def tokenized(batch: tuple[Any, ...], count: tf.Tensor) -> tuple[Any, tf.Tensor]:
            tokens = model.preprocess_samples(*batch)
            return lengths.pad(tokens, pad_token_id, tokens_have_targets=model.tokens_have_targets), count

        def local(replicas: range) -> tf.data.Dataset:
            def parts() -> Iterator[np.ndarray]:
                return (each[replica] for each in passes() for replica in replicas)

            batches = make_passes(rows, parts, sample_weight=sample_weight)
            return batches.map(tokenized, num_parallel_calls=tf.data.AUTOTUNE)

        return self.steps.iterator(local)

    def _lengths(self) -> BatchLengths:
        """Return what batches of training are padded to."""
        return choose_lengths(self.config, self.model, self.rows.lengths, compiled=self.steps.jit_compile)

    def _require_finite(self, epoch: int, steps: range, rows_of: RowsOf) -> None:
        losses = np.ravel(self.steps.step_losses)
        if np.isfinite(losses).all():
            return
        at = int(np.argmin(np.isfinite(losses)))  # the first one
        rows, rate = rows_of(steps[at]), self.steps.learning_rate(at)
        named = ", ".join(map(str, sorted(rows.tolist())[:_ROWS_NAMED])) + (", ..." if len(rows) > _ROWS_NAMED else "")
        raise NonFiniteLoss(
            f"Expected a finite loss. Received: {losses[at]} at step {steps[at] + 1} of epoch {epoch + 1}, learning "
            f"rate {rate:.2e}, rows {named} of the training data. Lower learning_rate, set clip_norm, or look at these "
            "rows for odd texts."
        )
