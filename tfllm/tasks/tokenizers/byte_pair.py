"""Byte-level byte-pair encoding inside the graph, for RoBERTa."""

from typing import NamedTuple

import keras_hub
import numpy as np
import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.tasks.tokenizers.characters import (
    SPACES,
    CharacterClass,
    Characters,
    decode_codes,
    place_in_run,
    row_edges,
    shifted,
)
from tfllm.tasks.tokenizers.sentence_piece import unchanged
from tfllm.tasks.tokenizers.spans import TokenSpans, locate

_LETTERS = CharacterClass(r"\p{L}")
_NUMBERS = CharacterClass(r"\p{N}")
_CONTRACTIONS = ("s", "t", "re", "ve", "m", "ll", "d")
_NO_MERGE = np.iinfo(np.int32).max
LONGEST_WORD = 512
"""The most characters that are merged as one word: a longer one is cut, which bounds the time that a text takes."""


class BytePair(tf.Module):
    """GPT-2's byte-level byte-pair encoding (Radford et al., 2019, section 2.2) as TensorFlow ops.

    The ids are those of Hugging Face's tokenizer, but for words of more than 512 characters between white space,
    digits and punctuation, which are cut. Every word of a batch is merged once, all words at the same time.

    Args:
        tokenizer: a KerasHub byte-pair tokenizer.

    Raises:
        ConfigError: the vocabulary lacks a byte, or the tokenizer puts a space before each text.
    """

    def __init__(self, tokenizer: keras_hub.tokenizers.BytePairTokenizer) -> None:
        super().__init__()
        if tokenizer.add_prefix_space:
            raise ConfigError("Expected a tokenizer with add_prefix_space=False, as RoBERTa's. Received: True.")
        vocabulary = tokenizer.vocabulary
        alphabet = byte_alphabet()
        if missing := [byte for byte, character in enumerate(alphabet) if character not in vocabulary]:
            raise ConfigError(f"Expected all 256 bytes in the vocabulary. Received: none for {missing[:5]}.")
        self.normalize = unchanged
        self._bytes = np.array([vocabulary[character] for character in alphabet], np.int32)
        self._lengths = np.zeros(max(vocabulary.values()) + 1, np.int32)
        for token, index in vocabulary.items():
            self._lengths[index] = len(token)
        pairs = [merge.split(" ") for merge in tokenizer.merges if not merge.lstrip().startswith("#version:")]
        keys = np.array([vocabulary[left] * len(self._lengths) + vocabulary[right] for left, right in pairs], np.int64)
        self._merged = np.array([vocabulary[left + right] for left, right in pairs] or [0], np.int32)
        self._keys, self._ranks = np.unique(np.append(keys, -1), return_index=True)
        self._ranks = self._ranks.astype(np.int32)

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """string `(batch,)` -> int32 `(batch, (tokens))`."""
        return self._tokenize(decode_codes(text))

    def tokenize_characters(self, characters: Characters) -> TokenSpans:
        """Tokenize texts that `normalize` has gone over, and say where the tokens stand."""
        ids = self._tokenize(characters.codes)
        lengths = tf.gather(tf.constant(self._lengths), ids.flat_values)
        ends = tf.cumsum(lengths)
        before = tf.gather(tf.concat([[0], ends], axis=0), tf.gather(ids.row_splits, ids.value_rowids()))
        ends = ids.with_flat_values(ends - before)
        return locate(characters, ids, ids.with_flat_values(ends.flat_values - lengths), ends)

    def _tokenize(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        starts = tf.where(_word_starts(codes))[:, 0]
        splits = tf.concat([starts, tf.size(codes.flat_values, tf.int64)[tf.newaxis]], axis=0)
        words = tf.RaggedTensor.from_row_splits(codes.flat_values, splits, validate=False)
        _, which = tf.unique(
            tf.strings.unicode_encode(words, "UTF-8")
        )  # which (words,): the index of the different one
        different = tf.reduce_max(tf.concat([which, [-1]], axis=0)) + 1
        first = tf.math.unsorted_segment_min(tf.range(tf.size(which)), which, different)
        tokens = self._merge(_utf8(tf.gather(words, first)))  # (different, (tokens))
        row = tf.gather(codes.value_rowids(), starts)
        ids = tf.RaggedTensor.from_value_rowids(tf.gather(tokens, which), row, codes.nrows(), validate=False)
        return ids.merge_dims(1, 2)

    def _merge(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        """Merge bytes `(words, (bytes))` into tokens `(words, (tokens))`."""
        count = tf.cast(words.nrows(), tf.int32)
        symbols = tf.gather(tf.constant(self._bytes), words.flat_values)
        state = _Merging(symbols, tf.cast(words.value_rowids(), tf.int32), tf.constant(True))
        shapes = _Merging(tf.TensorShape([None]), tf.TensorShape([None]), tf.TensorShape([]))
        done = tf.while_loop(
            lambda symbols, word, more: more,
            lambda symbols, word, more: self._merge_once(symbols, word, count),
            state,
            shape_invariants=shapes,
        )
        return tf.RaggedTensor.from_value_rowids(done.symbols, tf.cast(done.word, tf.int64), tf.cast(count, tf.int64))

    def _merge_once(self, symbols: tf.Tensor, word: tf.Tensor, count: tf.Tensor) -> "_Merging":
        """Merge every place of the pair that comes first in each word."""
        rank = self._rank(symbols, word)
        best = tf.gather(tf.math.unsorted_segment_min(rank, word, count), word)
        chosen = tf.logical_and(rank == best, rank != _NO_MERGE)
        chosen = tf.logical_and(chosen, place_in_run(chosen, word) % 2 == 0)  # of "aaa" the first two
        merged = tf.gather(tf.constant(self._merged), tf.where(chosen, rank, 0))
        kept = tf.logical_not(shifted(chosen, 1, False))
        symbols = tf.boolean_mask(tf.where(chosen, merged, symbols), kept)
        return _Merging(symbols, tf.boolean_mask(word, kept), tf.reduce_any(chosen))

    def _rank(self, symbols: tf.Tensor, word: tf.Tensor) -> tf.Tensor:
        """Return the rank of each symbol with the next one of its word."""
        size = tf.constant(len(self._lengths), tf.int64)
        key = tf.cast(symbols, tf.int64) * size + tf.cast(shifted(symbols, -1, 0), tf.int64)
        place = tf.minimum(tf.searchsorted(tf.constant(self._keys), key), len(self._keys) - 1)
        known = tf.logical_and(tf.gather(tf.constant(self._keys), place) == key, word == shifted(word, -1, -1))
        return tf.where(known, tf.gather(tf.constant(self._ranks), place), _NO_MERGE)


class _Merging(NamedTuple):
    symbols: tf.Tensor
    word: tf.Tensor
    more: tf.Tensor


def byte_alphabet() -> list[str]:
    """Return the character that stands for each byte in the vocabulary: itself, if it can be seen."""
    seen = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    hidden = [byte for byte in range(256) if byte not in seen]
    characters = {byte: chr(byte) for byte in seen} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
    return [characters[byte] for byte in range(256)]


def _word_starts(codes: tf.RaggedTensor) -> tf.Tensor:
    """Whether each character begins a word of GPT-2's pattern: bool `(characters,)`.

    The pattern: a contraction, or letters, digits or other characters with a space before, or white space up to the
    last one before a word.
    """
    flat = codes.flat_values
    kind = tf.where(SPACES(flat), 0, tf.where(_LETTERS(flat), 1, tf.where(_NUMBERS(flat), 2, 3)))
    first, last = row_edges(codes)
    before = tf.where(first, -1, shifted(kind, 1, -1))
    is_space = kind == 0
    after_blank = tf.logical_and(tf.logical_not(first), shifted(flat, 1, 0) == ord(" "))
    # Of white space before a word, the last character goes with the word (or alone, if it is not a blank).
    leads = tf.logical_and(is_space, tf.logical_not(last) & (shifted(kind, -1, 0) != 0))
    starts = tf.where(is_space, (before != 0) | leads, (before != kind) & tf.logical_not(after_blank))
    short, long = _contractions(codes, free=tf.logical_and(before != 3, tf.logical_not(after_blank)))
    inside = shifted(short | long, 1, False) | shifted(long, 2, False)
    behind = tf.logical_and(shifted(short, 2, False) | shifted(long, 3, False), tf.logical_not(first))
    starts = short | long | behind | tf.logical_and(starts, tf.logical_not(inside))
    run = place_in_run(tf.logical_not(starts), tf.cast(codes.value_rowids(), tf.int32)) + 1
    return first | starts | (tf.logical_not(starts) & (run % LONGEST_WORD == 0))


def _contractions(codes: tf.RaggedTensor, free: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether a contraction of two, or of three, characters begins here."""
    flat, row = codes.flat_values, tf.cast(codes.value_rowids(), tf.int32)
    begins = tf.logical_and(flat == ord("'"), free)
    next_one = tf.where(shifted(row, -1, -1) == row, shifted(flat, -1, 0), 0)
    next_two = tf.where(shifted(row, -2, -1) == row, shifted(flat, -2, 0), 0)
    found = {1: tf.zeros_like(begins), 2: tf.zeros_like(begins)}
    for letters in _CONTRACTIONS:
        same = next_one == ord(letters[0])
        if len(letters) == 2:
            same = tf.logical_and(same, next_two == ord(letters[1]))
        found[len(letters)] = tf.logical_or(found[len(letters)], same)
    return tf.logical_and(begins, found[1]), tf.logical_and(begins, found[2])


def _utf8(words: tf.RaggedTensor) -> tf.RaggedTensor:
    """Turn code points `(words, (characters))` into bytes `(words, (bytes))`, int32."""
    codes = words.flat_values
    widths = 1 + tf.add_n([tf.cast(codes >= bound, tf.int32) for bound in (0x80, 0x800, 0x10000)])
    ends = tf.cumsum(widths)
    origin = tf.repeat(tf.range(tf.size(codes)), widths)
    within = tf.range(tf.size(origin)) - tf.gather(ends - widths, origin)
    width = tf.gather(widths, origin)
    bits = tf.bitwise.right_shift(tf.gather(codes, origin), 6 * (width - 1 - within))
    lead = tf.gather(tf.constant([0, 0, 0xC0, 0xE0, 0xF0]), width)
    data = tf.where(within == 0, bits + lead, bits % 64 + 0x80)
    splits = tf.gather(tf.concat([[0], ends], axis=0), words.row_splits)
    return tf.RaggedTensor.from_row_splits(data, tf.cast(splits, tf.int64), validate=False)
