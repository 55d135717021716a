"""Products, layer normalisation, GELU and dropout, with gradients that a processor computes fast.

TensorFlow sums the gradient of a bias over rows by a kernel that runs far below the speed of a product, and writes the
gradients of a layer normalisation and of GELU as a dozen passes over the activations. Here the sums are products with a
row of ones, and the gradients are written out.
"""

import math
from typing import Any

import tensorflow as tf

_DRAWS = 2**16


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


def dropout(x: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Zero each number with a probability, and scale the others up to keep the mean (Srivastava et al., 2014).

    The numbers drawn have 16 bits, which is half the work of drawing floats: the probability is `rate` to 1 part in
    65,536.

    Args:
        x: float32 of any shape.
        rate: the probability.
        seed: int32 `(2,)`; the same one drops the same numbers.
    """
    dropped = min(round(rate * _DRAWS), _DRAWS - 1)
    size = tf.size(x)
    words = tf.random.stateless_uniform([(size + 3) // 4], seed, minval=None, maxval=None, dtype=tf.uint64)
    draws = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:size], tf.shape(x))
    factors = tf.cast(draws >= tf.constant(dropped, tf.uint16), x.dtype) * (_DRAWS / (_DRAWS - dropped))
    return tf.ensure_shape(x * tf.stop_gradient(factors), x.shape)


def _row_sum(rows: tf.Tensor) -> tf.Tensor:
    return tf.squeeze(tf.matmul(tf.ones([1, tf.shape(rows)[0]], rows.dtype), rows), axis=0)
