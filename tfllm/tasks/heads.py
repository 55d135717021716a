"""What goes between an encoder and a task's last layer."""

import keras
import keras_hub

from tfllm.errors import ConfigError, choices_hint
from tfllm.presets import apply_encoder

POOLINGS = ("first", "mean")


def initializer(stddev: float = 0.02) -> keras.initializers.Initializer:
    """Return BERT's initializer for new layers (Devlin et al., 2019, released code)."""
    return keras.initializers.TruncatedNormal(stddev=stddev)


def pool_encoder(backbone: keras_hub.models.Backbone, pooling: str, dropout: float) -> keras.KerasTensor:
    """Turn an encoder's output into one vector a text.

    Args:
        backbone: a KerasHub backbone of the BERT family.
        pooling: "first" for the first token, through the backbone's own pooler, or through a new dense tanh layer where
            it has none (as in Liu et al., 2019, "RoBERTa"); "mean" for the mean over the tokens that are no padding.
        dropout: the dropout rate before a new pooler.

    Returns:
        float `(batch, hidden)`.

    Raises:
        ConfigError: there is no such pooling.
    """
    encoded = apply_encoder(backbone)
    if pooling == "mean":
        _freeze_pooler(backbone)
        mask = keras.ops.expand_dims(keras.ops.cast(backbone.input["padding_mask"], encoded.sequence.dtype), -1)
        return keras.ops.sum(encoded.sequence * mask, axis=1) / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1.0)
    if pooling != "first":
        raise ConfigError(f"Expected a pooling. Received: pooling={pooling!r}. {choices_hint(pooling, POOLINGS)}")
    if encoded.pooled is not None:
        return encoded.pooled
    first = keras.layers.Dropout(dropout, name="pooled_dropout")(encoded.sequence[:, 0, :])
    dense = keras.layers.Dense(
        backbone.hidden_dim, activation="tanh", kernel_initializer=initializer(), name="pooled_dense"
    )
    return dense(first)


def _freeze_pooler(backbone: keras_hub.models.Backbone) -> None:
    """Take the backbone's own pooler, which mean pooling does not use, out of training."""
    for layer in backbone.layers:
        if layer.name == "pooled_dense":
            layer.trainable = False
