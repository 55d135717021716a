"""What goes between an encoder and a task's last layer."""

from dataclasses import dataclass

import keras
import keras_hub

from tfllm.errors import ConfigError, choices_hint
from tfllm.presets import apply_encoder

POOLINGS = ("cls", "mean", "max")
_BELOW_ALL = 1e4
_KEPT = 0.87962566103423978
"""The standard deviation of a normal distribution cut off at two of its own."""


@dataclass(frozen=True)
class Head:
    """What stands between an encoder's sequence output and a task's outputs, when it does not train (no dropout).

    Attributes:
        pooling: "cls", "mean", "max" (one vector a text) or "tokens" (one vector a token). With "cls" no other
            token of the sequence is read: training and the exported graph leave the others out.
        layers: the dense layers after it, in their order; the pooler of a "cls" head is the first of them.
    """

    pooling: str
    layers: tuple[keras.layers.Dense, ...]


def initializer(stddev: float = 0.02) -> keras.initializers.Initializer:
    """Return the initializer of new layers: a truncated normal distribution, `stddev` wide after it was truncated.

    BERT's own code (Devlin et al., 2019) draws with 0.02 and truncates, which leaves 0.0176; heads in PyTorch have 0.02
    and learn faster from few rows.
    """
    return keras.initializers.TruncatedNormal(stddev=stddev / _KEPT)


def pool_encoder(
    backbone: keras_hub.models.Backbone, pooling: str, dropout: float
) -> tuple[keras.KerasTensor, tuple[keras.layers.Dense, ...]]:
    """Turn an encoder's output into one vector a text, as classifiers do.

    Args:
        backbone: a KerasHub backbone of the BERT family.
        pooling: "cls" for the first token, through the backbone's own pooler, or through a new dense tanh layer where
            it has none (as in Liu et al., 2019, "RoBERTa"); "mean" or "max" over the tokens that are no padding.
        dropout: the dropout rate before a new pooler.

    Returns:
        float `(batch, hidden)`, and the dense layers that it went through after pooling.

    Raises:
        ConfigError: there is no such pooling.
    """
    if pooling != "cls":
        return pool_tokens(backbone, pooling), ()
    encoded = apply_encoder(backbone)
    if encoded.pooled is not None:
        return encoded.pooled, (backbone.get_layer("pooled_dense"),)
    first = keras.layers.Dropout(dropout, name="pooled_dropout")(encoded.sequence[:, 0, :])
    dense = keras.layers.Dense(
        backbone.hidden_dim, activation="tanh", kernel_initializer=initializer(), name="pooled_dense"
    )
    return dense(first), (dense,)


def encode_tokens(backbone: keras_hub.models.Backbone) -> keras.KerasTensor:
    """Return an encoder's output for each token, float `(batch, sequence, hidden)`; its pooler does not train."""
    _freeze_pooler(backbone)
    return apply_encoder(backbone).sequence


def pool_tokens(backbone: keras_hub.models.Backbone, pooling: str) -> keras.KerasTensor:
    """Turn an encoder's token vectors into one vector a text, by no layer with weights.

    Args:
        backbone: a KerasHub backbone of the BERT family; its own pooler, if it has one, is taken out of training.
        pooling: "cls" for the vector of the first token; "mean" or "max" over the tokens that are no padding.

    Returns:
        float `(batch, hidden)`.

    Raises:
        ConfigError: there is no such pooling.
    """
    if pooling not in POOLINGS:
        raise ConfigError(f"Expected a pooling. Received: pooling={pooling!r}. {choices_hint(pooling, POOLINGS)}")
    _freeze_pooler(backbone)
    tokens = apply_encoder(backbone).sequence  # (batch, sequence, hidden)
    if pooling == "cls":
        return tokens[:, 0, :]
    mask = keras.ops.expand_dims(keras.ops.cast(backbone.input["padding_mask"], tokens.dtype), -1)
    if pooling == "max":
        return keras.ops.max(tokens + (mask - 1.0) * _BELOW_ALL, axis=1)
    return keras.ops.sum(tokens * mask, axis=1) / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1.0)


def _freeze_pooler(backbone: keras_hub.models.Backbone) -> None:
    """Take the backbone's own pooler, which these poolings do not use, out of training."""
    for layer in backbone.layers:
        if layer.name == "pooled_dense":
            layer.trainable = False
