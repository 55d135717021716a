"""Words that are tokens of their own, such as the marks around entities: `AddedTokens`."""

import re
from collections.abc import Callable, Sequence

import keras
import keras_hub
import tensorflow as tf

ENTITY_MARKS = ("<e1>", "</e1>", "<e2>", "</e2>")
"""What stands around the two entities whose relation is asked for (Soares et al., 2019, "Matching the blanks", 3.2)."""

_CUT = "\0"


class AddedTokens(tf.Module):
    """Words that a tokenizer does not know, and that are neither split nor lower-cased.

    Their ids follow those of the tokenizer, so any tokenizer will do.

    Args:
        words: the words, written exactly so in the texts.
        first_id: the id of the first one.

    Example:
        >>> marks = AddedTokens(["<e1>"], first_id=100)
        >>> marks.tokenize(tf.constant(["a<e1>b"]), lambda pieces: tf.strings.unicode_decode(pieces, "UTF-8")).to_list()
        [[97, 100, 98]]
    """

    def __init__(self, words: Sequence[str], *, first_id: int) -> None:
        super().__init__()
        self.words = tuple(words)
        self.first_id = first_id

    def tokenize(self, text: tf.Tensor, tokenize: Callable[[tf.Tensor], tf.RaggedTensor]) -> tf.RaggedTensor:
        """Tokenize what stands between the words with another function.

        Args:
            text: string `(batch,)`.
            tokenize: string `(pieces,)` -> int32 `(pieces, (tokens))`.

        Returns:
            int32 `(batch, (tokens))`.
        """
        for word in self.words:
            text = tf.strings.regex_replace(text, re.escape(word), f"{_CUT}{word}{_CUT}")
        pieces = tf.strings.split(text, _CUT)  # (batch, (pieces))
        same = pieces.flat_values[:, tf.newaxis] == tf.constant(self.words)
        added = tf.RaggedTensor.from_row_lengths(
            tf.cast(tf.where(same)[:, 1], tf.int32) + self.first_id, tf.reduce_sum(tf.cast(same, tf.int64), axis=1)
        )
        plain = tokenize(tf.where(tf.reduce_any(same, axis=1), "", pieces.flat_values))
        return pieces.with_flat_values(tf.concat([plain, added], axis=1)).merge_dims(1, 2)


def grow_embeddings(backbone: keras_hub.models.Backbone, rows: int) -> keras_hub.models.Backbone:
    """Return a backbone whose table of token embeddings has at least so many rows.

    New rows begin near the mean of the old ones (Hewitt, 2021, "Initializing new word embeddings").

    Args:
        backbone: a KerasHub backbone of the BERT family.
        rows: how many token ids there are.
    """
    config = backbone.get_config()
    size = "vocab_size" if "vocab_size" in config else "vocabulary_size"
    if config[size] >= rows:
        return backbone
    before = config[size]
    grown = type(backbone).from_config({**config, size: rows})
    for old, new in zip(backbone.weights, grown.weights, strict=True):
        value = keras.ops.convert_to_tensor(old)
        if old.shape != new.shape:
            mean = keras.ops.mean(value, axis=0, keepdims=True)
            spread = 0.1 * keras.ops.std(value, axis=0, keepdims=True)
            value = keras.ops.concatenate([value, mean + spread * keras.random.normal((rows - before, value.shape[1]))])
        new.assign(value)
    return grown
