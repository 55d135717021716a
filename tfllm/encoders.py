"""New encoders of the BERT family, to be pre-trained: `new_encoder`."""

import os
from collections.abc import Sequence

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras_hub

from tfllm.errors import ConfigError, choices_hint
from tfllm.presets import Encoder

_WORDPIECE_FAMILIES = {"bert": "Bert", "distil_bert": "DistilBert", "electra": "Electra"}


def new_encoder(
    vocabulary: Sequence[str],
    *,
    lowercase: bool = True,
    family: str = "bert",
    layers: int = 4,
    width: int = 256,
    heads: int = 4,
    max_length: int = 512,
    dropout: float = 0.1,
) -> Encoder:
    """Return an encoder with random weights and a WordPiece vocabulary.

    Args:
        vocabulary: the tokens, as `train_vocabulary` returns them.
        lowercase: what `train_vocabulary` was told.
        family: "bert", "distil_bert" or "electra": the families with a WordPiece vocabulary.
        layers: how many transformer layers.
        width: the size of a token's vector; the inner layers are four times as wide.
        heads: attention heads; they share the width.
        max_length: the most tokens of a row.
        dropout: the dropout rate.

    Raises:
        ConfigError: there is no such family, or the heads do not share the width evenly.

    Example:
        >>> from tfllm.data.vocabulary import train_vocabulary
        >>> vocabulary = train_vocabulary(["a good film"], vocabulary_size=200)
        >>> new_encoder(vocabulary, layers=2, width=8, heads=2).backbone.hidden_dim
        8
    """
    if family not in _WORDPIECE_FAMILIES:
        raise ConfigError(
            f"Expected a family with a WordPiece vocabulary. Received: family={family!r}. "
            f"{choices_hint(family, _WORDPIECE_FAMILIES)} For another one, take a preset with load_weights=False."
        )
    if min(layers, width, heads) < 1 or width % heads:
        raise ConfigError(
            f"Expected layers, and a width that the heads share evenly. Received: {layers=}, {width=}, {heads=}."
        )
    name = _WORDPIECE_FAMILIES[family]
    tokenizer = getattr(keras_hub.models, f"{name}Tokenizer")(vocabulary=list(vocabulary), lowercase=lowercase)
    sizes = {"vocab_size": len(vocabulary), "embedding_dim": width} if family == "electra" else {}
    backbone = getattr(keras_hub.models, f"{name}Backbone")(
        **(sizes or {"vocabulary_size": len(vocabulary)}),
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=4 * width,
        max_sequence_length=max_length,
        dropout=dropout,
    )
    return Encoder(backbone, tokenizer)
