"""Keras's layers with gradients that a processor computes fast, and no work whose result nobody reads: `lean_layers`.

Queries, keys and values of an attention are one product, and where a head reads the first token only, the last layer
computes that token only. The numbers are those of Keras, but for rounding and for which ones dropout draws.
"""

import contextlib
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import keras_hub
import tensorflow as tf

from tfllm.tasks.base import Task
from tfllm.training.layer_calls import Call, replaced_calls
from tfllm.training.lean_gradients import affine, dropout, gelu, gelu_by_tanh, layer_norm
from tfllm.training.strategy import on_processors

_DTYPES = ("float32", "bfloat16")
_INPUT_AXES = {"abc,cde->abde": 1, "abcd,cde->abe": 2}
"""The products of Keras's attention -> how many axes of the kernel meet the input."""


@contextlib.contextmanager
def lean_layers(model: Task) -> Iterator[None]:
    """Let a task's layers do less work for the same result while the block runs.

    Lean gradients are for processors, float32 and bfloat16; leaving out what nobody reads is for all.

    Args:
        model: the task; layers of other kinds stay as they are.

    Example:
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
        >>> with lean_layers(model):
        ...     model(model.preprocess(tf.constant(["a good film"])), training=True).shape
        TensorShape([1, 2])
    """
    layers = model._flatten_layers() if on_processors() else []
    calls = [(layer, call) for layer in layers if (call := _lean_call(layer)) is not None]
    if (last := _layer_read_at_first(model)) is not None:
        calls.append((last, partial(_encode_first, last)))
    with replaced_calls(model, calls):
        yield


def _lean_call(layer: keras.Layer) -> Call | None:
    if getattr(layer, "compute_dtype", None) not in _DTYPES or not layer.built:
        return None
    if type(layer) is keras.layers.LayerNormalization:
        plain = not (layer.center and layer.scale) or layer.rms_scaling or layer.axis not in (-1, [-1])
        return None if plain else partial(_normalized, layer)
    if type(layer) is keras.layers.Dropout:
        return partial(_dropped, layer) if 0 < layer.rate < 1 and layer.noise_shape is None else None
    if type(layer) is keras.layers.MultiHeadAttention:
        return partial(_attended, layer) if _is_plain(layer) else None
    axes = 1 if type(layer) is keras.layers.Dense else None
    if type(layer) is keras.layers.EinsumDense:
        axes = _INPUT_AXES.get(layer.equation)
    if axes is None or layer.bias is None:
        return None
    return partial(_activated, layer, axes, _lean_activation(layer.activation))


def _lean_activation(activation: Call | None) -> Call:
    if activation is None:
        return lambda x: x
    points = tf.linspace(-4.0, 4.0, 33)
    with tf.init_scope():
        values = activation(points)
        return next((g for g in (gelu, gelu_by_tanh) if _is_near(values, g(points))), activation)


def _is_near(values: tf.Tensor, others: tf.Tensor) -> bool:
    return bool(tf.reduce_all(tf.abs(values - others) < 1e-6))


def _is_plain(attention: Any) -> bool:
    """Return whether an attention is that of BERT (Vaswani et al., 2017, section 3.2), with nothing that came later."""
    later = attention._use_gate or attention._sliding_window is not None or attention._flash_attention
    same_size = attention._key_dim == attention._value_dim
    return attention._use_bias and same_size and not later and attention._query_dense.equation in _INPUT_AXES


def _layer_read_at_first(model: Task) -> keras.Layer | None:
    """Return the last layer of an encoder that is read at the first token only, if this is such a model."""
    layers = [layer for layer in model.backbone.layers if type(layer) is keras_hub.layers.TransformerEncoder]
    if getattr(model, "head", None) is None or model.head.pooling != "cls" or not layers:
        return None
    last, used = layers[-1], len(layers[-1]._inbound_nodes)
    return last if used == 1 and not last.normalize_first else None  # one that is used again is read everywhere


def _activated(layer: Any, axes: int, activation: Call, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
    kernel = keras.ops.convert_to_tensor(layer.kernel)
    shape = kernel.shape.as_list()
    width = math.prod(shape[:axes])
    rows = affine(tf.reshape(inputs, [-1, width]), tf.reshape(kernel, [width, -1]), tf.reshape(layer.bias.value, [-1]))
    kept = inputs.shape.rank - axes
    outputs = tf.reshape(rows, tf.concat([tf.shape(inputs)[:kept], shape[axes:]], axis=0))
    return activation(tf.ensure_shape(outputs, inputs.shape[:kept] + shape[axes:]))


def _normalized(layer: Any, inputs: tf.Tensor) -> tf.Tensor:
    rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
    outputs = layer_norm(rows, layer.gamma.value, layer.beta.value, layer.epsilon)
    outputs = tf.cast(tf.reshape(outputs, tf.shape(inputs)), layer.compute_dtype)
    return tf.ensure_shape(outputs, inputs.shape)


def _dropped(layer: Any, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    return dropout(inputs, layer.rate, tf.cast(layer.seed_generator.next(), tf.int32)) if training else inputs


def _attended(layer: Any, query: tf.Tensor, value: tf.Tensor, **options: Any) -> tf.Tensor:
    """Attend (Vaswani et al., 2017, section 3.2) with one product for all that meets the same input.

    Args:
        layer: Keras's attention.
        query: `(batch, queries, hidden)`.
        value: `(batch, keys, hidden)`; keys are made of it as well.
        **options: of Keras's `call`; with any but `attention_mask` and `training` it is Keras's own.
    """
    given = {name for name, option in options.items() if option is not None}
    if not given <= {"attention_mask", "training"}:
        return type(layer).call(layer, query, value, **options)
    denses = (layer._query_dense, layer._key_dense, layer._value_dense)
    if query is value:
        queries, keys, values = _products(denses, query)
    else:
        (queries,), (keys, values) = _products(denses[:1], query), _products(denses[1:], value)
    scores = tf.matmul(queries * layer._inverse_sqrt_key_dim, keys, transpose_b=True)  # (batch, heads, queries, keys)
    mask = options.get("attention_mask")
    shares = layer._masked_softmax(scores, None if mask is None else tf.cast(mask, tf.bool))
    shares = layer._dropout_layer(shares, training=options.get("training"))
    return layer._output_dense(tf.transpose(tf.matmul(shares, values), [0, 2, 1, 3]))


def _products(denses: Any, inputs: tf.Tensor) -> list[tf.Tensor]:
    """Return what each dense layer makes of the inputs, `(batch, heads, sequence, size)`, by one product."""
    kernels = [keras.ops.convert_to_tensor(dense.kernel) for dense in denses]  # each (hidden, heads, size)
    hidden, heads, size = kernels[0].shape
    kernel = tf.concat([tf.reshape(kernel, [hidden, heads * size]) for kernel in kernels], axis=1)
    bias = tf.concat([tf.reshape(dense.bias.value, [-1]) for dense in denses], axis=0)
    batch, length = tf.unstack(tf.shape(inputs)[:2])
    rows = affine(tf.reshape(inputs, [-1, hidden]), kernel, bias)
    parts = tf.reshape(rows, [batch, length, len(denses), heads, size])
    return tf.unstack(tf.transpose(parts, [2, 0, 3, 1, 4]), axis=0)


def _encode_first(
    layer: Any,
    inputs: tf.Tensor,
    padding_mask: tf.Tensor | None = None,
    attention_mask: tf.Tensor | None = None,
    training: bool | None = None,
) -> tf.Tensor:
    """Return what KerasHub's post-norm encoder layer makes of the first token, `(batch, 1, hidden)`."""
    mask = None if padding_mask is None else tf.cast(padding_mask, tf.bool)[:, tf.newaxis, :]  # (batch, 1, sequence)
    if attention_mask is not None:
        here = tf.cast(attention_mask, tf.bool)[:, :1, :]
        mask = here if mask is None else mask & here
    first = inputs[:, :1, :]
    attended = layer._self_attention_layer(first, inputs, attention_mask=mask, training=training)
    attended = layer._self_attention_dropout(attended, training=training)
    attended = layer._self_attention_layer_norm(attended + first)
    wide = layer._feedforward_intermediate_dense(attended)
    output = layer._feedforward_dropout(layer._feedforward_output_dense(wide), training=training)
    return layer._feedforward_layer_norm(output + attended)
