"""The head of a masked language model."""

from typing import Any

import keras
import keras_hub

from tfllm.presets import apply_encoder
from tfllm.tasks.heads import encode_tokens, initializer
from tfllm.tasks.sentence_pairs import pair_logits, require_sentence_head


def masked_outputs(
    backbone: keras_hub.models.Backbone, positions: keras.KerasTensor, sentence_head: str | None
) -> keras.KerasTensor | dict[str, keras.KerasTensor]:
    """Return the outputs of a masked language model.

    Args:
        backbone: a KerasHub backbone of the BERT family, whose table of embeddings the head shares.
        positions: where the masks are, int32 `(batch, masks)`.
        sentence_head: a key of `SENTENCE_HEADS`, or None.

    Returns:
        Logits float32 `(batch, masks, vocabulary)`; with a sentence head a dictionary of those, `tokens`, and `pairs`,
        float32 `(batch, 2)`.

    Raises:
        ConfigError: there is no such sentence head.
    """
    head = keras_hub.layers.MaskedLMHead(
        token_embedding=backbone.token_embedding,
        intermediate_activation=_gelu,
        layer_norm_epsilon=1e-12,
        kernel_initializer=initializer(),
        dtype="float32",
        name="masked_lm_head",
    )
    if sentence_head is None:
        return head(encode_tokens(backbone), mask_positions=positions)
    require_sentence_head(sentence_head)
    encoded = apply_encoder(backbone)
    tokens = head(encoded.sequence, mask_positions=positions)
    return {"tokens": tokens, "pairs": pair_logits(backbone, encoded)}


def _gelu(x: Any) -> Any:
    return keras.activations.gelu(x, approximate=True)
