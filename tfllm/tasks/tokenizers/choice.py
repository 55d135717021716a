"""Which tokenizer of the graph stands for a tokenizer of KerasHub."""

from collections.abc import Callable
from typing import Protocol

import keras_hub
import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.tasks.tokenizers.byte_pair import BytePair
from tfllm.tasks.tokenizers.characters import Characters
from tfllm.tasks.tokenizers.sentence_piece import SentencePiece
from tfllm.tasks.tokenizers.spans import TokenSpans
from tfllm.tasks.tokenizers.word_piece import WordPiece

_KINDS = {
    keras_hub.tokenizers.WordPieceTokenizer: WordPiece,
    keras_hub.tokenizers.SentencePieceTokenizer: SentencePiece,
    keras_hub.tokenizers.BytePairTokenizer: BytePair,
}


class GraphTokenizer(Protocol):
    """A tokenizer of TensorFlow ops that a SavedModel can hold; a `tf.Module`.

    Attributes:
        normalize: string `(n,)` -> string `(n,)`, what becomes of each character by itself before it is tokenized.
    """

    normalize: Callable[[tf.Tensor], tf.Tensor]

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """string `(batch,)` -> int32 `(batch, (tokens))`."""

    def tokenize_characters(self, characters: Characters) -> TokenSpans:
        """Tokenize texts that `normalize` has gone over, and say where the tokens stand."""


def graph_tokenizer(tokenizer: keras_hub.tokenizers.Tokenizer) -> GraphTokenizer:
    """Return the tokenizer of the graph that gives the ids of a KerasHub tokenizer.

    Raises:
        ConfigError: it is of none of the three kinds.
    """
    for kind, made in _KINDS.items():
        if isinstance(tokenizer, kind):
            return made(tokenizer)
    raise ConfigError(
        "Expected a WordPiece, SentencePiece or byte-pair tokenizer of KerasHub. "
        f"Received: {type(tokenizer).__name__}. Choose a preset of the BERT family."
    )
