"""What goes between an encoder and a task's last layer."""

from dataclasses import dataclass

import keras
import keras_hub

from tfllm.errors import ConfigError, choices_hint
from tfllm.presets import apply_encoder

POOLINGS = ("first", "mean")


@dataclass(frozen=True)
class Head:
    """What stands between an encoder's sequence output and a task's outputs, when it does not train (no dropout).

    Attributes:
        pooling: "first", "mean", "max" (one vector a text) or "tokens" (one vector a token).
        layers: the dense layers after it, in their order; the pooler of a "first" head is the first of them.
    """

    pooling: str
    layers: tuple[keras.layers.Dense, ...]


def initializer(stddev: float = 0.02) -> keras.initializers.Initializer:
    """Return BERT's initializer for new layers (Devlin et al., 2019, released code)."""
    return keras.initializers.TruncatedNormal(stddev=stddev)


def pool_encoder(
    backbone: keras_hub.models.Backbone, pooling: str, dropout: float
) -> tuple[keras.KerasTensor, tuple[keras.layers.Dense, ...]]:
    """Turn an encoder's output into one vector a text.

    Args:
        backbone: a KerasHub backbone of the BERT family.
        pooling: "first" for the first token, through the backbone's own pooler, or through a new dense tanh layer where
            it has none (as in Liu et al., 2019, "RoBERTa"); "mean" for the mean over the tokens that are no padding.
        dropout: the dropout rate before a new pooler.

    Returns:
        float `(batch, hidden)`, and the dense layers that it went through after pooling.

    Raises:
        ConfigError: there is no such pooling.
    """
    encoded = apply_encoder(backbone)
    if pooling == "mean":
        _freeze_pooler(backbone)
        mask = keras.ops.expand_dims(keras.ops.cast(backbone.input["padding_mask"], encoded.sequence.dtype), -1)
        total = keras.ops.sum(encoded.sequence * mask, axis=1)
        return total / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1.0), ()
    if pooling != "first":
        raise ConfigError(f"Expected a pooling. Received: pooling={pooling!r}. {choices_hint(pooling, POOLINGS)}")
    if encoded.pooled is not None:
        return encoded.pooled, (backbone.get_layer("pooled_dense"),)
    first = keras.layers.Dropout(dropout, name="pooled_dropout")(encoded.sequence[:, 0, :])
    dense = keras.layers.Dense(
        backbone.hidden_dim, activation="tanh", kernel_initializer=initializer(), name="pooled_dense"
    )
    return dense(first), (dense,)


def _freeze_pooler(backbone: keras_hub.models.Backbone) -> None:
    """Take the backbone's own pooler, which mean pooling does not use, out of training."""
    for layer in backbone.layers:
        if layer.name == "pooled_dense":
            layer.trainable = False
