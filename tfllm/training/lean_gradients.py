"""Products, layer normalisation, GELU and dropout, with gradients that a processor computes fast.

TensorFlow sums the gradient of a bias over rows by a kernel that runs far below the speed of a product, and writes the
gradients of a layer normalisation and of GELU as a dozen passes over the activations. Here the sums are products with a
row of ones, and the gradients are written out. In bfloat16, layer normalisation and GELU compute in float32, all else
in bfloat16.
"""

import math
from typing import Any

import tensorflow as tf

_DRAWS = 2**16


@tf.custom_gradient
def affine(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> Any:
    """Return `x @ kernel + bias`, `(rows, units)`, of `(rows, width)`, `(width, units)` and `(units,)` of one dtype."""

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
        dx = tf.matmul(dy, kernel, transpose_b=True)
        return dx, tf.matmul(x, dy, transpose_a=True), _row_sum(dy)

    return tf.nn.bias_add(tf.matmul(x, kernel), bias), gradient


def layer_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Normalise each row of `(rows, width)`; Ba et al., 2016, "Layer normalization"."""

    @tf.custom_gradient
    def norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
        wide, factor = tf.cast(x, tf.float32), tf.cast(gamma, tf.float32)
        centered = wide - tf.reduce_mean(wide, axis=-1, keepdims=True)
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True) + epsilon)
        normal = centered * scale

        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
            dy = tf.cast(dy, tf.float32)
            dn = dy * factor
            along = tf.reduce_mean(dn * normal, axis=-1, keepdims=True)
            dx = scale * (dn - tf.reduce_mean(dn, axis=-1, keepdims=True) - normal * along)
            found = (dx, _row_sum(dy * normal), _row_sum(dy))
            return tuple(tf.cast(one, of.dtype) for one, of in zip(found, (x, gamma, beta), strict=True))

        return tf.cast(normal * factor + tf.cast(beta, tf.float32), x.dtype), gradient

    return norm(x, gamma, beta)


@tf.custom_gradient
def gelu(x: tf.Tensor) -> Any:
    """Return `x * P(X <= x)` of a normal X; Hendrycks and Gimpel, 2016, "Gaussian error linear units", section 2."""
    wide = tf.cast(x, tf.float32)
    below = 0.5 * (1.0 + tf.math.erf(wide * math.sqrt(0.5)))

    def gradient(dy: tf.Tensor) -> tf.Tensor:
        slope = below + wide * tf.exp(-0.5 * tf.square(wide)) * (1.0 / math.sqrt(2.0 * math.pi))
        return tf.cast(tf.cast(dy, tf.float32) * slope, x.dtype)

    return tf.cast(wide * below, x.dtype), gradient


@tf.custom_gradient
def gelu_by_tanh(x: tf.Tensor) -> Any:
    """Return the approximation of `gelu` by tanh, which BERT's own code has; Hendrycks and Gimpel, 2016, section 2.

    As `(1 + tanh(u)) / 2` is the sigmoid of `2 * u`, it is a product with one.
    """
    linear, cubic = 2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715
    wide = tf.cast(x, tf.float32)
    square = tf.square(wide)
    below = tf.sigmoid(wide * (linear + cubic * square))

    def gradient(dy: tf.Tensor) -> tf.Tensor:
        slope = below * (1.0 + (1.0 - below) * wide * (linear + 3 * cubic * square))
        return tf.cast(tf.cast(dy, tf.float32) * slope, x.dtype)

    return tf.cast(wide * below, x.dtype), gradient


def dropout(x: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Zero each number with a probability, and scale the others up to keep the mean (Srivastava et al., 2014).

    The numbers drawn have 16 bits, which is half the work of drawing floats: the probability is `rate` to 1 part in
    65,536.

    Args:
        x: float32 or bfloat16 of any shape.
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
