"""A micro encoder of every family, with a tokenizer of the family's own kind, for tests that must hold for all."""

import functools
import io
import json

import keras
import keras_hub
import numpy as np

from tfllm.presets import Encoder, load_encoder

FAMILIES = ("bert", "distil_bert", "albert", "roberta", "xlm_roberta", "deberta_v3", "electra")

IDS = np.array([[1, 5, 6, 2, 0], [1, 7, 2, 0, 0], [1, 3, 4, 5, 2]], np.int32)
TOKENS = {"token_ids": IDS, "padding_mask": (IDS != 0).astype("int32"), "segment_ids": np.zeros_like(IDS)}
"""Three rows of tokens that every micro encoder knows, padded with 0."""

_CLASSES = {
    "bert": "Bert",
    "distil_bert": "DistilBert",
    "albert": "Albert",
    "roberta": "Roberta",
    "xlm_roberta": "XLMRoberta",
    "deberta_v3": "DebertaV3",
    "electra": "Electra",
}
_SIZES = {"albert": {"embedding_dim": 8}, "deberta_v3": {"bucket_size": 16}, "electra": {"embedding_dim": 8}}
_SPECIAL = {
    "albert": {
        "pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3,
        "pad_piece": "<pad>", "unk_piece": "<unk>", "bos_piece": "[CLS]", "eos_piece": "[SEP]",
        "user_defined_symbols": ["[MASK]"],
    },
    "xlm_roberta": {"unk_id": 0, "bos_id": 1, "eos_id": 2},
    "deberta_v3": {
        "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3,
        "pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]",
    },
}  # fmt: skip
TEXTS = [
    "good film, great food: the film was fine and the food was good",
    "bad film, awful food: the film was poor and the food was bad",
    "Who wrote it? Nobody knows; 42 people (or more) asked, \"why?\" It's Ana's, they'll say.",
    "déjà vu, Ünïcode, ΟΔΟΣ, Привет, שלום עולם, مرحبا, 日本語 のテスト, 한국어, 😀 👩‍👩‍👧",
]


def micro_encoder(family: str, *, layers: int = 2) -> Encoder:
    """Return an untrained encoder of width 8 with a small vocabulary; the same at every call.

    Args:
        family: one of `FAMILIES`.
        layers: how many layers it has.
    """
    tokenizer = micro_tokenizer(family)
    keras.utils.set_random_seed(0)
    size = {"vocab_size" if family == "electra" else "vocabulary_size": tokenizer.vocabulary_size()}
    backbone = getattr(keras_hub.models, f"{_CLASSES[family]}Backbone")(
        num_layers=layers,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=64,
        **size,
        **_SIZES.get(family, {}),
    )
    return Encoder(backbone, tokenizer)


def micro_tokenizer(family: str) -> keras_hub.tokenizers.Tokenizer:
    """Return a tokenizer of a family, with a small vocabulary."""
    make = getattr(keras_hub.tokenizers, f"{_CLASSES[family]}Tokenizer")
    if family in _SPECIAL:
        return make(proto=sentence_piece_model(family))
    if family == "roberta":
        vocabulary, merges = byte_pairs()
        return make(vocabulary=vocabulary, merges=merges)
    return make(vocabulary=load_encoder("micro_bert").tokenizer.get_vocabulary(), lowercase=True)


@functools.cache
def sentence_piece_model(family: str) -> bytes:
    """Return a small SentencePiece model with the special tokens of a family, or "albert_cased"."""
    import sentencepiece

    model = io.BytesIO()
    texts = [text.lower() for text in TEXTS] if family == "albert" else TEXTS
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=160,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
        **_SPECIAL[family.removesuffix("_cased")],
    )
    return model.getvalue()


@functools.cache
def byte_pairs() -> tuple[dict[str, int], list[str]]:
    """Return the vocabulary and the merges of a small byte-level byte-pair encoding."""
    from tokenizers.implementations import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(TEXTS, vocab_size=400, min_frequency=1, special_tokens=special, show_progress=False)
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]
