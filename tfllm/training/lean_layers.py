"""Keras's dense layers and layer normalisations with gradients that a processor computes fast: `lean_layers`.

TensorFlow sums the gradient of a bias over rows by a kernel that runs far below the speed of a product, and writes the
gradients of a layer normalisation and of GELU as a dozen passes over the activations. Here the sums are products with a
row of ones, and the gradients are written out. The numbers are those of Keras, but for rounding.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfllm.tasks.base import Task

_INPUT_AXES = {"abc,cde->abde": 1, "abcd,cde->abe": 2}
"""The products of Keras's attention -> how many axes of the kernel meet the input."""


@contextlib.contextmanager
def lean_layers(model: Task) -> Iterator[None]:
    """Let a task's layers compute lean gradients while the block runs, where it trains on processors in float32.

    Args:
        model: the task; layers of other kinds, and those in half precision, stay as they are.

    Example:
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
        >>> with lean_layers(model):
        ...     model(model.preprocess(tf.constant(["a good film"])), training=True).shape
        TensorShape([1, 2])
    """
    changed = []
    if not tf.config.list_physical_devices("GPU") and not tf.config.list_physical_devices("TPU"):
        for layer in model._flatten_layers():
            call = _lean_call(layer)
            if call is not None:
                layer.call = call
                changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            del layer.call  # the one of its class is there again
        model.forget_traces()


def _lean_call(layer: keras.Layer) -> Callable[..., tf.Tensor] | None:
    if getattr(layer, "compute_dtype", None) != "float32" or not layer.built:
        return None
    if type(layer) is keras.layers.LayerNormalization:
        plain = not (layer.center and layer.scale) or layer.rms_scaling or layer.axis not in (-1, [-1])
        return None if plain else lambda inputs: _normalized(layer, inputs)
    axes = 1 if type(layer) is keras.layers.Dense else None
    if type(layer) is keras.layers.EinsumDense:
        axes = _INPUT_AXES.get(layer.equation)
    if axes is None or layer.bias is None:
        return None
    activation = _lean_activation(layer.activation)
    return lambda inputs, training=None: activation(_affine(layer, inputs, axes))


def _lean_activation(activation: Callable[..., Any] | None) -> Callable[..., Any]:
    if activation is None:
        return lambda x: x
    points = tf.linspace(-4.0, 4.0, 33)
    with tf.init_scope():
        is_gelu = bool(tf.reduce_all(tf.abs(activation(points) - gelu(points)) < 1e-6))  # not its approximation
    return gelu if is_gelu else activation


def _affine(layer: Any, inputs: tf.Tensor, axes: int) -> tf.Tensor:
    kernel = keras.ops.convert_to_tensor(layer.kernel)
    shape = kernel.shape.as_list()
    width = math.prod(shape[:axes])
    rows = affine(tf.reshape(inputs, [-1, width]), tf.reshape(kernel, [width, -1]), tf.reshape(layer.bias.value, [-1]))
    kept = inputs.shape.rank - axes
    outputs = tf.reshape(rows, tf.concat([tf.shape(inputs)[:kept], shape[axes:]], axis=0))
    return tf.ensure_shape(outputs, inputs.shape[:kept] + shape[axes:])


def _normalized(layer: Any, inputs: tf.Tensor) -> tf.Tensor:
    rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
    outputs = layer_norm(rows, layer.gamma.value, layer.beta.value, layer.epsilon)
    return tf.ensure_shape(tf.reshape(outputs, tf.shape(inputs)), inputs.shape)


@tf.custom_gradient
def affine(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> Any:
    """Return `x @ kernel + bias`, float32 `(rows, units)`, of `(rows, width)`, `(width, units)` and `(units,)`."""

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
        dx = tf.matmul(dy, kernel, transpose_b=True)
        return dx, tf.matmul(x, dy, transpose_a=True), _row_sum(dy)

    return tf.nn.bias_add(tf.matmul(x, kernel), bias), gradient


def layer_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Normalise each row of `(rows, width)`; Ba et al., 2016, "Layer normalization"."""

    @tf.custom_gradient
    def norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
        centered = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True) + epsilon)
        normal = centered * scale

        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
            dn = dy * gamma
            along = tf.reduce_mean(dn * normal, axis=-1, keepdims=True)
            dx = scale * (dn - tf.reduce_mean(dn, axis=-1, keepdims=True) - normal * along)
            return dx, _row_sum(dy * normal), _row_sum(dy)

        return normal * gamma + beta, gradient

    return norm(x, gamma, beta)


@tf.custom_gradient
def gelu(x: tf.Tensor) -> Any:
    """Return `x * P(X <= x)` of a normal X; Hendrycks and Gimpel, 2016, "Gaussian error linear units", section 2."""
    below = 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5)))

    def gradient(dy: tf.Tensor) -> tf.Tensor:
        return dy * (below + x * tf.exp(-0.5 * tf.square(x)) * (1.0 / math.sqrt(2.0 * math.pi)))

    return x * below, gradient


def _row_sum(rows: tf.Tensor) -> tf.Tensor:
    return tf.squeeze(tf.matmul(tf.ones([1, tf.shape(rows)[0]], rows.dtype), rows), axis=0)
