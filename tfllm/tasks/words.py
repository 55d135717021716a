"""Words of a text, made of tokens, and what each of them is: tags in training, entities in answers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfllm.tasks.tokenizers.spans import TokenSpans

UNKNOWN_TAG = -1
"""The tag of a word that nothing is known of; it does not count in training."""


class Words(NamedTuple):
    """The words of texts, ragged `(batch, (words))` each; places are code points of the text as it was sent.

    Attributes:
        tokens: int32, the flat index of a word's first token.
        starts: int32, where the word starts.
        ends: int32, the place after its end.
    """

    tokens: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


def group_words(spans: TokenSpans, *, by_spaces: bool) -> Words:
    """Join tokens to words.

    Args:
        spans: the tokens with their places.
        by_spaces: whether words have white space between them; otherwise they are those of BERT's basic tokenization,
            where each punctuation mark and each Chinese character is a word too.
    """
    begins = spans.space_starts if by_spaces else spans.word_starts
    flags = begins.flat_values
    tokens = tf.cast(tf.where(flags)[:, 0], tf.int32)  # (words,)
    word = tf.cumsum(tf.cast(flags, tf.int32)) - 1
    starts, ends = spans.starts.flat_values, spans.ends.flat_values
    word = tf.where(starts < ends, word, -1)  # a token of white space alone belongs to no word
    ends = tf.math.unsorted_segment_max(ends, word, tf.size(tokens))
    counts = tf.reduce_sum(tf.cast(begins, tf.int64), axis=1)
    splits = tf.concat([[tf.constant(0, tf.int64)], tf.cumsum(counts)], axis=0)
    parts = (tokens, tf.gather(starts, tokens), ends)
    return Words(*(tf.RaggedTensor.from_row_splits(part, splits, validate=False) for part in parts))


def word_kinds(starts: np.ndarray, ends: np.ndarray, entities: Sequence[tuple[int, int, str]]) -> list[tuple[int, int]]:
    """Return the entity that each word is in.

    Args:
        starts: where each word starts, int `(words,)`, in ascending order.
        ends: the place after its end.
        entities: `(start, end, kind)` in ascending order, without overlap.

    Returns:
        `(word, entity)` numbers for each word that has at least one character of an entity; the first one counts.

    Example:
        >>> word_kinds(np.array([0, 3, 9]), np.array([2, 8, 10]), [(3, 8, "city")])
        [(1, 0)]
    """
    found = []
    taken = 0
    for number, (start, end, _) in enumerate(entities):
        first = max(int(np.searchsorted(ends, start, side="right")), taken)
        taken = max(int(np.searchsorted(starts, end, side="left")), first)
        found += [(word, number) for word in range(first, taken)]
    return found
