"""Where tokens stand in a text: from bytes of the normalised text back to characters of the source."""

from typing import NamedTuple

import tensorflow as tf

from tfllm.tasks.tokenizers.characters import SPACES, WORDS_BY_THEMSELVES, Characters, row_edges, shifted


class TokenSpans(NamedTuple):
    """Tokens with their places. All are ragged `(batch, (tokens))`; places are code points of the text as it was sent.

    Attributes:
        ids: int32, the token ids.
        starts: int32, where the token starts.
        ends: int32, the place after its end; combining marks after its last character belong to it. A token that
            stands for white space only has `starts == ends`.
        word_starts: bool, whether it begins a word as BERT's basic tokenization has it: split at white space, with each
            punctuation mark and each Chinese character a word.
        space_starts: bool, whether it begins a word between white space.
    """

    ids: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor
    word_starts: tf.RaggedTensor
    space_starts: tf.RaggedTensor


def locate(
    characters: Characters,
    ids: tf.RaggedTensor,
    begins: tf.RaggedTensor,
    ends: tf.RaggedTensor,
    has_text: tf.Tensor | None = None,
) -> TokenSpans:
    """Find tokens in the source.

    Args:
        characters: the normalised text that was tokenized.
        ids: integer `(batch, (tokens))`.
        begins: integer `(batch, (tokens))`, where each token begins, in UTF-8 bytes of the normalised text.
        ends: integer `(batch, (tokens))`, where it ends.
        has_text: bool `(tokens of all texts,)`, whether a token stands for more than white space. Such a one has at
            least one character, even where two tokens come from one character and the first ends as it begins.

    Returns:
        The tokens; white space at the ends of a token is no part of its span.
    """
    codes = characters.codes.flat_values
    rows = tf.cast(ids.value_rowids(), tf.int64)
    splits = tf.cast(characters.codes.row_splits, tf.int32)
    first, last = _characters_of(characters.codes, rows, begins.flat_values, ends.flat_values)
    if has_text is not None:
        one_character = tf.minimum(_next_text(codes, first) + 1, tf.gather(splits[1:], rows))  # but not of the next row
        last = tf.where(has_text, tf.maximum(last, one_character), last)
    first, last = _without_spaces(codes, first, last)
    empty = first >= last
    size = tf.maximum(tf.size(codes), 1)
    starts = tf.gather(_padded(characters.starts), tf.minimum(first, size - 1))
    stops = tf.where(empty, starts, tf.gather(_padded(_ends_before_the_next(characters)), tf.maximum(last - 1, 0)))
    after = tf.maximum(_end_before(last, empty), tf.gather(splits, rows))
    word, space = (
        tf.logical_and(tf.logical_not(empty), _any_between(flags, after, first)) for flags in _word_starts(characters)
    )
    flat = (tf.cast(ids.flat_values, tf.int32), starts, stops, word, space)
    return TokenSpans(*(ids.with_flat_values(values) for values in flat))


def _end_before(last: tf.Tensor, empty: tf.Tensor) -> tf.Tensor:
    """Return where the token before each one ends, tokens of white space left out; int32 `(tokens,)`."""
    is_text = tf.logical_not(empty)
    ends = tf.concat([[0], tf.boolean_mask(last, is_text)], axis=0)
    return tf.gather(ends, tf.cumsum(tf.cast(is_text, tf.int32), exclusive=True))


def _any_between(flags: tf.Tensor, begin: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Whether a flag is set from `begin` to `last`, which counts too; bool `(tokens,)`.

    A token begins a word if one begins after the token before it: its first character may not be the word's, where the
    tokenizer left that one out. Of a character that is several tokens only the first can begin a word.
    """
    before = tf.cumsum(tf.concat([[0], tf.cast(flags, tf.int32)], axis=0))  # how many before each character
    return tf.gather(before, tf.minimum(last + 1, tf.size(flags))) > tf.gather(
        before, tf.minimum(begin, tf.size(flags))
    )


def _ends_before_the_next(characters: Characters) -> tf.RaggedTensor:
    """Where each character ends in the source, without the marks that are characters of the text themselves."""
    starts, ends = characters.starts.flat_values, characters.ends.flat_values
    next_start = tf.where(row_edges(characters.codes)[1], tf.int32.max, shifted(starts, -1, 0))
    return characters.ends.with_flat_values(tf.minimum(ends, tf.maximum(next_start, starts + 1)))


def _characters_of(codes: tf.RaggedTensor, rows: tf.Tensor, begins: tf.Tensor, ends: tf.Tensor) -> tuple:
    """Turn bytes within a row into flat indices of characters: the first one, and the one after the last."""
    flat = codes.flat_values
    widths = 1 + tf.add_n([tf.cast(flat >= bound, tf.int32) for bound in (0x80, 0x800, 0x10000)])
    offsets = tf.cumsum(tf.concat([[0], widths], axis=0))
    character = tf.concat([tf.repeat(tf.range(tf.size(flat)), widths), [tf.size(flat)]], axis=0)  # (bytes + 1,)
    row_offset = tf.gather(offsets, tf.gather(codes.row_splits, rows))
    begin, end = row_offset + tf.cast(begins, tf.int32), row_offset + tf.cast(ends, tf.int32)
    first = tf.gather(character, begin)
    return first, tf.where(end > begin, tf.gather(character, tf.maximum(end - 1, 0)) + 1, first)


def _next_text(codes: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
    """Return the flat index of the first character from `first` on that is no space."""
    is_text = tf.logical_not(SPACES(codes))
    places = tf.concat([tf.cast(tf.where(is_text)[:, 0], tf.int32), [tf.size(codes)]], axis=0)
    before = tf.cumsum(tf.concat([[0], tf.cast(is_text, tf.int32)], axis=0))  # how many before each character
    return tf.gather(places, tf.gather(before, first))


def _without_spaces(codes: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tuple:
    begin = tf.minimum(_next_text(codes, first), last)
    size = tf.size(codes)
    from_end = size - _next_text(codes[::-1], size - last)  # the same search from the other end
    return begin, tf.maximum(from_end, begin)


def _word_starts(characters: Characters) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether each character begins a word: bool `(characters,)`, in BERT's sense and by white space."""
    codes = characters.codes.flat_values
    is_space, alone = SPACES(codes), WORDS_BY_THEMSELVES(codes)
    after_space = tf.logical_or(row_edges(characters.codes)[0], shifted(is_space, 1, True))
    is_text = tf.logical_not(is_space)
    by_space = tf.logical_and(is_text, after_space)
    return tf.logical_or(by_space, is_text & tf.logical_or(alone, shifted(alone, 1, False))), by_space


def _padded(values: tf.RaggedTensor) -> tf.Tensor:
    """Return the flat values, with a zero where there are none at all."""
    flat = values.flat_values
    return tf.cond(tf.size(flat) > 0, lambda: flat, lambda: tf.zeros([1], flat.dtype))
