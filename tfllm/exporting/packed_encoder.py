"""An encoder over packed tokens: one row a real token, spread to texts and heads for attention alone.

Each operator is written in the form that TensorFlow's graph rewriter ("remapper") turns into one oneDNN kernel: product
with bias, with GELU or with the residual sum, and layer normalisation. All weights are constants of the graph, so that
the kernels keep them in their own blocked layout.
"""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from tfllm.exporting.encoder_weights import Affine, EncoderWeights, HeadWeights, Layer, Norm
from tfllm.exporting.late_constants import LateConstants

_BLOCKED = {"float32": -1e9, "bfloat16": -1e9, "float16": -3e4}
"""What is added to the attention to a token that is none: a number that the dtype can hold."""

_FEW_ROWS = (7, 80)
"""The rows of a float32 product for which oneDNN wants the weights in another layout than for all others."""


class _Places(NamedTuple):
    """Where the tokens of a step lie; made once, used by every layer."""

    spread: tf.Tensor  # (3, texts, heads, length): rows of the query, key and value of each token
    spread_first: tf.Tensor  # (texts, heads, 1): rows of the query of each first token
    collect: tf.Tensor  # (tokens, heads): rows of each token in (texts, heads, length)
    blocked: tf.Tensor  # (texts, 1, 1, length): added to the attention scores
    first: tf.Tensor  # (texts,): the packed row of each first token
    text: tf.Tensor  # (tokens,): the text of each token


@dataclass(frozen=True)
class PackedEncoder:
    """An encoder and its head over the packed tokens of a step.

    Attributes:
        weights: the encoder's weights.
        head: the pooling and the dense layers after it.
        dtype: of the products.
        constants: make the weights constants of the graph.
    """

    weights: EncoderWeights
    head: HeadWeights
    dtype: tf.DType
    constants: LateConstants

    def __call__(self, embedded: tf.Tensor, token: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Run the layers and the head.

        A product keeps its weights in the layout that its first rows asked for, and brings them into another one at
        every run that asks for that, which takes as long as a short text. So few rows have operators of their own, with
        the same constants; only those of one side run.

        Args:
            embedded: the sum of token and position rows of the real tokens, float32 `(tokens, embedding)`.
            token: int32 `(tokens, 2)`, the text and the position of each.
            mask: int32 `(texts, length)`, 1 for a token.

        Returns:
            the head's outputs, float32, one row a text; one a token for a head that pools "tokens".
        """
        if not self._two_layouts:
            return self._run(embedded, token, mask)
        rows, (least, most) = tf.shape(embedded)[0], _FEW_ROWS
        few = tf.logical_and(rows >= least, rows <= most)
        sides = zip(*(tf.raw_ops.Switch(data=each, pred=few) for each in (embedded, token, mask)), strict=True)
        return tf.raw_ops.Merge(inputs=[self._run(*side) for side in sides]).output

    @property
    def _two_layouts(self) -> bool:
        return self.dtype == tf.float32  # oneDNN has one layout for all rows of the others

    def _run(self, embedded: tf.Tensor, token: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        places = self._places(token, mask)
        x = self._norm(tf.cast(embedded, self.dtype), self.weights.norm)  # (tokens, embedding)
        if self.weights.widening is not None:
            x = self._product(x, self.weights.widening)
        *layers, last = self.weights.layers
        for layer in layers:
            x = self._layer(x, layer, places, first_only=False)
        x = self._layer(x, last, places, first_only=self.head.pooling == "cls")  # (tokens or texts, hidden)
        return self._head(x, places, tf.shape(mask)[0])

    def _places(self, token: tf.Tensor, mask: tf.Tensor) -> _Places:
        heads = self.weights.heads
        texts, length = tf.shape(mask)[0], tf.shape(mask)[1]
        row = tf.reshape(tf.cumsum(tf.reshape(mask, [-1])), [texts, length]) - 1  # the packed row of each token
        head = tf.range(heads)
        part = tf.range(3)[:, tf.newaxis, tf.newaxis, tf.newaxis] * heads
        spread = row[:, tf.newaxis, :] * (3 * heads) + head[:, tf.newaxis] + part
        collect = (token[:, :1] * heads + head) * length + token[:, 1:]
        blocked = tf.cast(1 - mask, self.dtype) * tf.constant(_BLOCKED[self.dtype.name], self.dtype)
        return _Places(
            spread, spread[0, :, :, :1], collect, blocked[:, tf.newaxis, tf.newaxis, :], row[:, 0], token[:, 0]
        )

    def _layer(self, x: tf.Tensor, layer: Layer, places: _Places, *, first_only: bool) -> tf.Tensor:
        attended = self._attend(self._product(x, layer.attention), places, first_only)
        if first_only:
            attended, x = self._padded(attended), self._padded(tf.gather(x, places.first))
        x = self._norm(self._product(attended, layer.projection) + x, layer.attention_norm)
        inner = tf.nn.gelu(self._product(x, layer.intermediate), approximate=self.weights.approximate_gelu)
        x = self._norm(self._product(inner, layer.output) + x, layer.output_norm)
        return x[: tf.shape(places.first)[0]] if first_only else x

    def _attend(self, projected: tf.Tensor, places: _Places, first_only: bool) -> tf.Tensor:
        hidden, heads = projected.shape[-1] // 3, self.weights.heads
        size = hidden // heads
        rows = tf.reshape(projected, [-1, size])  # (tokens * 3 * heads, size)
        if first_only:
            query = tf.gather(rows, places.spread_first)  # (texts, heads, 1, size)
            key, value = tf.unstack(tf.gather(rows, places.spread[1:]))  # (texts, heads, length, size)
        else:
            query, key, value = tf.unstack(tf.gather(rows, places.spread), num=3)
        scores = tf.matmul(query, key, transpose_b=True) + places.blocked  # the query was scaled with its weights
        mixed = tf.matmul(tf.nn.softmax(scores), value)  # (texts, heads, length or 1, size)
        if not first_only:
            mixed = tf.gather(tf.reshape(mixed, [-1, size]), places.collect)  # (tokens, heads, size)
        return tf.reshape(mixed, [-1, hidden])

    def _head(self, x: tf.Tensor, places: _Places, texts: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, tf.float32)
        if self.head.pooling == "mean":
            x = tf.math.unsorted_segment_mean(x, places.text, texts)
        elif self.head.pooling == "max":
            x = tf.math.unsorted_segment_max(x, places.text, texts)
        for affine, activation in self.head.layers:
            x = activation(tf.nn.bias_add(tf.matmul(x, self.constants(affine.kernel)), self.constants(affine.bias)))
        return x

    def _product(self, x: tf.Tensor, affine: Affine) -> tf.Tensor:
        kernel, bias = self.constants(affine.kernel, self.dtype), self.constants(affine.bias, self.dtype)
        return tf.nn.bias_add(tf.matmul(x, kernel), bias)

    def _norm(self, x: tf.Tensor, norm: Norm) -> tf.Tensor:
        """Normalise each row, in float32.

        Written out, since the graph rewriter's own kernels are no faster: that of `FusedBatchNormV3` needs oneDNN, and
        is slow without; that of `Mean` with `SquaredDifference` drops the epsilon.
        """
        x = tf.cast(x, tf.float32)
        centered = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True)
        normal = centered * tf.math.rsqrt(variance + norm.epsilon)
        return tf.cast(normal * self.constants(norm.gamma) + self.constants(norm.beta), self.dtype)

    def _padded(self, x: tf.Tensor) -> tf.Tensor:
        """Return rows with as many more as make them `_FEW_ROWS`, so that one text and several share a layout."""
        more = tf.maximum(_FEW_ROWS[0] - tf.shape(x)[0], 0)
        return tf.pad(x, [[0, more], [0, 0]]) if self._two_layouts else x
