"""Training and evaluation steps that give the same numbers on one device, on many replicas, and in several passes.

Keras averages over each replica's own rows, clips each replica's own gradient, and fails with several workers. Here the
gradient of a step is the mean over all its rows, wherever they were, and is clipped once, after it was summed (Goyal et
al., 2017, "Accurate, large minibatch SGD", section 3).
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfllm.tasks.base import Task
from tfllm.training.averaging import inner_optimizer
from tfllm.training.optimizers import Gradient, deduplicated, scaled

Logs = dict[str, Any]

_compiled = functools.partial(tf.function, reduce_retracing=True, autograph=False)


class Steps:
    """The steps of one model with its optimizer, under the strategy that it was made under.

    Args:
        model: a compiled task.
        r_drop: how much the disagreement of two passes with other dropout counts (Liang et al., 2021, "R-Drop", section
            2.2, of whose loss this is half); 0 for one pass.
        jit_compile: whether XLA compiles forward and backward pass of training, for each shape of a batch.

    Attributes:
        loss: the mean loss over the rows of the epoch so far.
        step_losses: the losses of the steps of the last call, float32 `(steps,)`, or a scalar of one step.
    """

    def __init__(self, model: Task, r_drop: float = 0.0, *, jit_compile: bool = False) -> None:
        self.model, self.r_drop, self.jit_compile = model, r_drop, jit_compile
        self.strategy = model.distribute_strategy
        self.replicas = self.strategy.num_replicas_in_sync
        self.step_losses: tf.Tensor = tf.constant(0.0)
        self._rates: tf.Tensor | None = None
        with self.strategy.scope():
            self.loss = keras.metrics.Mean(name="loss")
            model.optimizer.build(model.trainable_variables)
        # Gradients come summed over the replicas already, so that clipping sees the whole.
        inner_optimizer(model.optimizer)._all_reduce_sum_gradients = list
        self._sums: list[tf.Variable] = []
        self._weight: tf.Variable | None = None
        self._whole = _compiled(self._over_replicas(self._train_in_one))
        self._part = _compiled(self._over_replicas(self._accumulate))
        self._last = _compiled(self._over_replicas(self._accumulate_and_apply))
        self._several = _compiled(self._train_in_turn)
        self._differentiated = _compiled(self._backward, jit_compile=True) if jit_compile else self._backward
        self.test = _compiled(self._over_replicas(self._test_step))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All that counts within an epoch, and is stored with a checkpoint."""
        return [self.loss, *self.model.metrics]

    def reset(self) -> None:
        """Begin an epoch, or an evaluation."""
        for metric in self.metrics:
            metric.reset_state()

    def results(self) -> Logs:
        """Return loss and metrics of the epoch so far, over the rows of all replicas."""
        with self.strategy.scope():
            return {**self.model.get_metrics_result(), "loss": self.loss.result()}

    def iterator(self, batches: Callable[[range], tf.data.Dataset]) -> Any:
        """Return an iterator over what the steps take, for all replicas of this process.

        Args:
            batches: makes the batches of the replicas with these numbers, one after the other.
        """

        def local(context: tf.distribute.InputContext) -> tf.data.Dataset:
            here = context.num_replicas_in_sync // context.num_input_pipelines
            replicas = range(context.input_pipeline_id * here, (context.input_pipeline_id + 1) * here)
            return batches(replicas).prefetch(tf.data.AUTOTUNE)

        if self.replicas == 1:
            return iter(local(tf.distribute.InputContext()))
        return iter(self.strategy.distribute_datasets_from_function(local))

    def train(self, iterator: Any, passes: int) -> Logs:
        """Run one step.

        Args:
            iterator: what `iterator` returned.
            passes: how many passes the step has.

        Returns:
            What `results` gives, after the step.
        """
        if passes == 1:
            answers = [self._whole(iterator)]
        else:
            self._make_sums()
            answers = [*(self._part(iterator) for _ in range(passes - 1)), self._last(iterator)]
        self.step_losses = tf.add_n([answer[0] for answer in answers]) / tf.add_n([answer[1] for answer in answers])
        self._rates = None
        return answers[-1][2]

    def train_several(self, iterator: Any, steps: int) -> Logs:
        """Run so many steps of one pass each in one call of a graph, with the numbers of as many calls of `train`.

        Args:
            iterator: what `iterator` returned.
            steps: how many; one graph serves all numbers.

        Returns:
            What `results` gives, after the last step.
        """
        self.step_losses, self._rates, logs = self._several(iterator, tf.constant(steps))
        return logs

    def learning_rate(self, step: int) -> float:
        """Return the learning rate after a step of the last call, counted from 0."""
        rate = self.model.optimizer.learning_rate if self._rates is None else self._rates[step]
        return float(keras.ops.convert_to_numpy(rate))

    def _over_replicas(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def run(iterator: Any) -> tuple[tf.Tensor, tf.Tensor, Logs]:
            return *self._summed(step, iterator), self.results()

        return run

    def _train_in_turn(self, iterator: Any, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Logs]:
        def step(at: tf.Tensor, losses: tf.TensorArray, rates: tf.TensorArray) -> tuple[Any, ...]:
            loss, weight = self._summed(self._train_in_one, iterator)
            rate = tf.cast(self.model.optimizer.learning_rate, tf.float32)
            return at + 1, losses.write(at, loss / weight), rates.write(at, rate)

        arrays = [tf.TensorArray(tf.float32, size=count) for _ in range(2)]
        # The loop asks for no value of a step, so that a fast device need not wait for the host.
        _, losses, rates = tf.while_loop(
            lambda at, *_: at < count, step, (tf.constant(0), *arrays), parallel_iterations=1
        )
        return losses.stack(), rates.stack(), self.results()

    def _summed(self, step: Callable[[Any], Any], iterator: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Run a step on what comes next; return its loss times its weight, and its weight, over all replicas."""
        loss, weight = self.strategy.run(step, args=(next(iterator),))
        return self.strategy.reduce("SUM", loss, axis=None), self.strategy.reduce("SUM", weight, axis=None)

    # What runs in each replica.

    def _train_in_one(self, data: Any) -> tuple[tf.Tensor, tf.Tensor]:
        gradients, loss, weight = self._gradients(data)
        if self.replicas > 1:
            context = tf.distribute.get_replica_context()
            share = weight / context.all_reduce("SUM", weight)
            gradients = context.all_reduce("SUM", [scaled(gradient, share) for gradient in gradients])
        self._apply(gradients)
        return loss, weight

    def _accumulate(self, data: Any) -> tuple[tf.Tensor, tf.Tensor]:
        gradients, loss, weight = self._gradients(data)
        for total, gradient in zip(self._sums, gradients, strict=True):
            total.assign_add(weight * tf.convert_to_tensor(gradient))
        self._weight.assign_add(weight)
        return loss, weight

    def _accumulate_and_apply(self, data: Any) -> tuple[tf.Tensor, tf.Tensor]:
        answer = self._accumulate(data)
        context = tf.distribute.get_replica_context()
        sums = context.all_reduce("SUM", [total.read_value() for total in [*self._sums, self._weight]])
        self._apply([total / sums[-1] for total in sums[:-1]])
        for total in [*self._sums, self._weight]:
            total.assign(tf.zeros_like(total))
        return answer

    def _test_step(self, data: Any) -> tuple[tf.Tensor, tf.Tensor]:
        batch, count = data
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        y_pred = self.model(x, training=False)
        return self._judge(x, y, y_pred, sample_weight, count)

    def _gradients(self, data: Any) -> tuple[list[Gradient], tf.Tensor, tf.Tensor]:
        batch, count = data
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        gradients, loss, y_pred = self._differentiated(x, y, sample_weight)
        return gradients, *self._judge(x, y, y_pred, sample_weight, count, loss=loss)

    def _backward(self, x: Any, y: Any, sample_weight: Any) -> tuple[list[Gradient], tf.Tensor, Any]:
        """Return gradients, loss and predictions. No metrics: they may be strings, or of any shape."""
        with tf.GradientTape() as tape:
            y_pred = self.model(x, training=True)
            loss = self._loss(x, y, y_pred, sample_weight)
            if self.r_drop:
                again = self.model(x, training=True)
                apart = self.model.disagreement(y_pred, again, sample_weight)
                loss = (loss + self._loss(x, y, again, sample_weight) + self.r_drop * apart) / 2
            scaled = self.model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in self.model.trainable_variables])
        return gradients, loss, y_pred

    def _loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> tf.Tensor:
        # Keras divides each loss by the number of replicas; here the share of the rows does that.
        loss = self.model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
        return tf.cast(loss, tf.float32) * self.replicas

    def _judge(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any, count: tf.Tensor, *, loss: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Count the rows in loss and metrics; return the loss times its weight, and the weight."""
        if loss is None:
            loss = self._loss(x, y, y_pred, sample_weight)
        weight = tf.where(count > 0, self.model.loss_weight(count, y, sample_weight), 0.0)
        self.loss.update_state(loss, sample_weight=weight)
        counted = [  # nothing of a replica that has no rows
            tf.nest.map_structure(lambda value: None if value is None else _all_or_nothing(value, count > 0), part)
            for part in (x, y, y_pred, sample_weight)
        ]
        self.model.compute_metrics(*counted)
        return loss * weight, weight

    def _apply(self, gradients: list[Gradient]) -> None:
        # Scaling of the loss looks for what is not finite before the optimizer sums repeated rows.
        self.model.optimizer.apply([deduplicated(g) for g in gradients], self.model.trainable_variables)

    def _make_sums(self) -> None:
        if self._sums:
            return
        on_read = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.SUM,
        }
        with self.strategy.scope():
            self._sums = [tf.Variable(tf.zeros(v.shape), **on_read) for v in self.model.trainable_variables]
            self._weight = tf.Variable(0.0, **on_read)


def _all_or_nothing(value: tf.Tensor, everything: tf.Tensor) -> tf.Tensor:
    return value[: tf.where(everything, tf.shape(value)[0], 0)]
