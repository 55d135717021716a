"""Optimizers for encoders: Keras's own, with a learning rate for each weight, and Adam's update in one pass.

Keras writes AdamW as some ten operations a weight, each of which reads and writes all of it. TensorFlow's own kernel
reads and writes each number once.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

Gradient = tf.Tensor | tf.IndexedSlices
Rate = float | keras.optimizers.schedules.LearningRateSchedule


class _ByWeight(keras.optimizers.Optimizer):
    """A learning rate factor for each weight, and decoupled decay at that rate."""

    factors: Sequence[float] = ()
    """A factor for each weight that the optimizer was built with; none means 1."""
    depths: Sequence[int] = ()
    """How high in the model each weight is, where `lowest` counts."""
    lowest: tf.Variable | None = None
    """Weights that are not so high do not learn, int scalar; None for all learn."""
    average_momentum: float | None = None
    """The momentum of an exponential moving average of the weights, or None. Set it before `build`."""
    averages: Sequence[keras.Variable] = ()
    """The averages, where they are kept."""

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the optimizer's variables."""
        super().build(variables)
        if self.average_momentum is not None and not self.averages:
            self.averages = self.add_optimizer_variables(variables, "average")

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Decay a weight and update it, at its own learning rate."""
        index = self._get_variable_index(variable)
        if self.factors:
            learning_rate = learning_rate * self.factors[index]
        if self.lowest is not None:
            learning_rate = learning_rate * tf.cast(self.depths[index] >= self.lowest, learning_rate.dtype)
        if self.weight_decay and self._use_weight_decay(variable):
            variable.assign(variable * tf.cast(1 - learning_rate * self.weight_decay, variable.dtype))
        self._update(tf.convert_to_tensor(gradient), variable, learning_rate)
        if self.average_momentum is not None:
            average = self.averages[index].value
            momentum = tf.where(self.iterations == 0, 0.0, tf.cast(self.average_momentum, average.dtype))
            average.assign_sub((1 - momentum) * (average - variable))

    def _update(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        super().update_step(gradient, variable, learning_rate)

    def _clip_gradients(self, gradients: list[Gradient]) -> list[Gradient]:
        """Scale the gradients down to the largest norm; rows of a table stay rows, where Keras writes the whole."""
        if not self.global_clipnorm:
            return super()._clip_gradients(gradients)
        gradients = [deduplicated(gradient) for gradient in gradients]
        norm = tf.sqrt(2 * tf.add_n([tf.nn.l2_loss(getattr(gradient, "values", gradient)) for gradient in gradients]))
        scale = self.global_clipnorm / tf.maximum(norm, self.global_clipnorm) + (norm - norm)  # NaN of one not finite
        return [scaled(gradient, scale) for gradient in gradients]

    def _apply_weight_decay(self, variables: Any) -> None:
        """Do nothing: `update_step` decays."""


@keras.saving.register_keras_serializable("tfllm")
class AdamW(_ByWeight, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with each weight updated in one pass, by TensorFlow's kernel."""

    def _update(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


@keras.saving.register_keras_serializable("tfllm")
class Lamb(_ByWeight, keras.optimizers.Lamb):
    """`keras.optimizers.Lamb` with a learning rate for each weight."""


@keras.saving.register_keras_serializable("tfllm")
class Adafactor(_ByWeight, keras.optimizers.Adafactor):
    """`keras.optimizers.Adafactor` with a learning rate for each weight."""


def scaled(gradient: Gradient, factor: tf.Tensor) -> Gradient:
    """Return a gradient times a number."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor


def deduplicated(gradient: Gradient) -> Gradient:
    """Sum the slices of one row of a table, so that norms see one gradient a row."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    indices, where = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, where, tf.shape(indices)[0])
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


def make_optimizer(
    name: str,
    learning_rate: Rate,
    *,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
    average: float | None = None,
) -> keras.optimizers.Optimizer:
    """Return an optimizer as encoders are trained with: no decay of biases and layer norms, clipped by the global norm.

    Args:
        name: "adamw", "lamb" (for large batches) or "adafactor" (which keeps no momentum).
        learning_rate: a number or a schedule.
        weight_decay: the decay, times the learning rate at each step.
        clip_norm: the largest norm of the gradient, or None.
        average: the momentum of an exponential moving average of the weights, or None.

    Reference:
        Loshchilov and Hutter, 2019, "Decoupled weight decay regularization"; You et al., 2020, "Large batch
        optimization for deep learning" (LAMB); Shazeer and Stern, 2018, "Adafactor".
    """
    common = {"weight_decay": weight_decay, "global_clipnorm": clip_norm, "name": name}
    if name == "lamb":
        optimizer = Lamb(learning_rate, epsilon=1e-6, **common)
    elif name == "adafactor":
        optimizer = Adafactor(learning_rate, relative_step=False, **common)
    else:
        optimizer = AdamW(learning_rate, epsilon=1e-8, **common)
    optimizer.average_momentum = average
    optimizer.exclude_from_weight_decay(var_names=["bias", "layer_norm", "/gamma", "/beta"])
    return optimizer
