"""The weights of an encoder, read from its KerasHub backbone, as the inference graph wants them."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import keras_hub
import numpy as np

from tfllm.tasks.base import Task
from tfllm.tasks.heads import Head

_PROBE = np.linspace(-4.0, 4.0, 33, dtype="float32")


@dataclass(frozen=True)
class Affine:
    """A product with a bias: kernel float32 `(inputs, outputs)`, bias float32 `(outputs,)`."""

    kernel: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Norm:
    """A layer normalisation: gamma and beta float32 `(hidden,)`."""

    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float


@dataclass(frozen=True)
class Layer:
    """One layer of a post-norm transformer encoder (Vaswani et al., 2017, section 3.1).

    Attributes:
        attention: hidden -> query, key and value of all heads, one after the other; the query divided by the root of
            its size, so that its products with keys are the scores.
        projection: hidden -> hidden, after attention.
        attention_norm: after the first residual sum.
        intermediate: hidden -> intermediate, before GELU.
        output: intermediate -> hidden.
        output_norm: after the second residual sum.
    """

    attention: Affine
    projection: Affine
    attention_norm: Norm
    intermediate: Affine
    output: Affine
    output_norm: Norm


@dataclass(frozen=True)
class EncoderWeights:
    """An encoder of the BERT family as arrays.

    Attributes:
        tokens: the token table, float32 `(vocabulary, embedding)`.
        positions: the position table with the segment table added, float32 `(segments * length, embedding)`.
        length: the most positions.
        norm: the normalisation of the embeddings.
        widening: embedding -> hidden, where they differ.
        layers: the layers in the order in which they run; one that is shared is there more than once.
        heads: the attention heads.
        approximate_gelu: whether GELU is the one with tanh (Hendrycks and Gimpel, 2016, section 2), not with erf.
    """

    tokens: np.ndarray
    positions: np.ndarray
    length: int
    norm: Norm
    widening: Affine | None
    layers: tuple[Layer, ...]
    heads: int
    approximate_gelu: bool


@dataclass(frozen=True)
class HeadWeights:
    """A head as arrays: the pooling ("cls", "mean", "max" or "tokens"), then dense layers with their activations."""

    pooling: str
    layers: tuple[tuple[Affine, Callable], ...]


def read_head(head: Head) -> HeadWeights:
    """Read the weights of a task's head."""
    return HeadWeights(head.pooling, tuple((_affine(dense), dense.activation) for dense in head.layers))


def has_known_head(task: Task) -> bool:
    """Whether a task says its head as pooling and dense layers."""
    head = getattr(task, "head", None)
    return (
        isinstance(head, Head)
        and head.pooling in ("cls", "mean", "max", "tokens")
        and all(isinstance(layer, keras.layers.Dense) for layer in head.layers)
    )


def read_encoder(backbone: keras_hub.models.Backbone) -> EncoderWeights | None:
    """Read the weights of a bert, distil_bert, electra, roberta, xlm_roberta or albert backbone.

    Returns:
        the weights, or None for an encoder that is built otherwise.
    """
    models = keras_hub.models
    if isinstance(backbone, models.BertBackbone | models.ElectraBackbone | models.AlbertBackbone):
        positions = _array(backbone.position_embedding.position_embeddings)
        segments = _array(backbone.segment_embedding.embeddings)
    elif isinstance(backbone, models.DistilBertBackbone | models.RobertaBackbone):
        positions = _array(backbone.embeddings.position_embedding.position_embeddings)
        segments = np.zeros((1, positions.shape[1]), "float32")
    else:
        return None
    layers = _layers_in_order(backbone)
    gelu = {_is_approximate(layer.activation) for layer in layers}
    if gelu not in ({True}, {False}) or any(layer.normalize_first for layer in layers):
        return None
    known = {id(layer): _read_layer(layer) for layer in layers}
    widening = getattr(backbone, "embeddings_projection", None)
    return EncoderWeights(
        tokens=_array(backbone.token_embedding.embeddings),
        positions=np.concatenate([positions + segment for segment in segments]),
        length=len(positions),
        norm=_norm(backbone.embeddings_layer_norm),
        widening=None if widening is None else _affine(widening),
        layers=tuple(known[id(layer)] for layer in layers),
        heads=layers[0].num_heads,
        approximate_gelu=gelu.pop(),
    )


def _layers_in_order(backbone: keras_hub.models.Backbone) -> list[keras.layers.Layer]:
    if not isinstance(backbone, keras_hub.models.AlbertBackbone):
        return list(backbone.transformer_layers)
    repeats = backbone.num_layers // backbone.num_groups
    return [layer for group in backbone.transformer_layers for _ in range(repeats) for layer in group]


def _is_approximate(activation: Callable) -> bool | None:
    """Whether an activation is GELU with tanh (True) or with erf (False); None if it is neither."""
    values = np.asarray(activation(_PROBE))
    for approximate in (True, False):
        if np.array_equal(values, np.asarray(keras.activations.gelu(_PROBE, approximate=approximate))):
            return approximate
    return None


def _read_layer(layer: keras.layers.Layer) -> Layer:
    attention = layer._self_attention_layer
    parts = [attention.query_dense, attention.key_dense, attention.value_dense]
    hidden = parts[0].kernel.shape[0]
    kernels = [_array(part.kernel).reshape(hidden, -1) for part in parts]
    biases = [_array(part.bias).reshape(-1) for part in parts]
    root = np.sqrt(parts[0].kernel.shape[-1], dtype="float32")
    kernels[0], biases[0] = kernels[0] / root, biases[0] / root
    output = attention.output_dense
    return Layer(
        attention=Affine(np.concatenate(kernels, axis=1), np.concatenate(biases)),
        projection=Affine(_array(output.kernel).reshape(-1, hidden), _array(output.bias)),
        attention_norm=_norm(layer._self_attention_layer_norm),
        intermediate=_affine(layer._feedforward_intermediate_dense),
        output=_affine(layer._feedforward_output_dense),
        output_norm=_norm(layer._feedforward_layer_norm),
    )


def _affine(dense: keras.layers.Dense) -> Affine:
    bias = _array(dense.bias) if dense.use_bias else np.zeros(dense.units, "float32")
    return Affine(_array(dense.kernel), bias)


def _norm(norm: keras.layers.LayerNormalization) -> Norm:
    return Norm(_array(norm.gamma), _array(norm.beta), float(norm.epsilon))


def _array(variable: keras.Variable) -> np.ndarray:
    """Return a variable's numbers, without a copy where they are float32."""
    return np.asarray(keras.ops.cast(variable.value, "float32"))
