"""Texts as code points that remember where in the source they come from, and tables of what happens to each."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_PAGE = 256
_PAGES = 0x110000 // _PAGE
_MARK = r"\p{M}"


class Characters(NamedTuple):
    """Texts as code points, each with its place in the source.

    Attributes:
        codes: int32 ragged `(batch, (characters))`, Unicode code points.
        starts: int32 ragged, the same shape; the index in the source, in code points.
        ends: int32 ragged, the same shape; the index after the character and the combining marks that follow it.
    """

    codes: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor

    def encode(self) -> tf.Tensor:
        """Return the texts in UTF-8, string `(batch,)`."""
        return tf.strings.unicode_encode(self.codes, "UTF-8")

    def keep(self, mask: tf.Tensor) -> "Characters":
        """Return the characters where a flat bool mask is true."""
        return Characters(*(tf.ragged.boolean_mask(part, part.with_flat_values(mask)) for part in self))

    def collapse_spaces(self) -> "Characters":
        """Return the characters without the second and further of consecutive spaces, and without those at the ends."""
        is_space = self.codes.flat_values == ord(" ")
        starts_row, ends_row = row_edges(self.codes)
        follows = tf.logical_or(starts_row, shifted(is_space, 1, True))
        once = self.keep(tf.logical_not(tf.logical_and(is_space, follows)))
        is_last = row_edges(once.codes)[1]
        return once.keep(tf.logical_not(tf.logical_and(once.codes.flat_values == ord(" "), is_last)))


def decode(text: tf.Tensor) -> Characters:
    """Turn texts into characters.

    Args:
        text: string `(batch,)`. Bytes that are not UTF-8 become U+FFFD as Python's `decode("utf-8", "replace")` has it,
            so that places are those in the decoded text.
    """
    codes = tf.strings.unicode_decode(text, "UTF-8", errors="replace")
    codes = tf.RaggedTensor.from_row_splits(codes.flat_values, tf.cast(codes.row_splits, tf.int64), validate=False)
    starts = tf.cast(tf.ragged.range(codes.row_lengths()), tf.int32)
    # One more character after each row ends the search for the next one that is no mark.
    after = tf.fill([codes.nrows(), 1], ord(" "))
    closed = tf.concat([codes, tf.RaggedTensor.from_tensor(after, row_splits_dtype=tf.int64)], axis=1)
    is_base = tf.logical_not(MARKS(closed.flat_values))
    bases = tf.cast(tf.where(is_base)[:, 0], tf.int32)  # flat index in `closed` of each base
    next_base = tf.gather(tf.concat([bases, [0]], axis=0), tf.cumsum(tf.cast(is_base, tf.int32)))
    ends = closed.with_flat_values(next_base - tf.cast(tf.gather(closed.row_splits, closed.value_rowids()), tf.int32))
    return Characters(codes, starts, codes.with_flat_values(ends[:, :-1].flat_values))


def row_edges(rows: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return whether each flat value is the first, and the last, of its row: bool `(values,)` each."""
    row = rows.value_rowids()
    different = row[1:] != row[:-1]
    edge = tf.ones([tf.minimum(tf.size(row), 1)], tf.bool)
    return tf.concat([edge, different], axis=0), tf.concat([different, edge], axis=0)


def shifted(values: tf.Tensor, by: int, fill: bool | int) -> tf.Tensor:
    """Return at each index the value `by` places before it (after it, if negative), or `fill` beyond the ends."""
    size = tf.size(values)
    room = tf.fill([tf.minimum(tf.constant(abs(by)), size)], tf.constant(fill, values.dtype))
    return tf.concat([room, values[:-by]] if by > 0 else [values[-by:], room], axis=0)


class _Pages:
    """An integer for each code point, in pages, since most pages are alike."""

    def __init__(self, values: np.ndarray) -> None:
        pages, self._page = np.unique(values.reshape(_PAGES, _PAGE), axis=0, return_inverse=True)
        self._page = self._page.reshape(-1).astype(np.int32)
        self._values = pages.reshape(-1).astype(np.int32)

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        page = tf.gather(tf.constant(self._page), codes // _PAGE)
        return tf.gather(tf.constant(self._values), page * _PAGE + codes % _PAGE)


class CharacterClass:
    """Whether a code point is of a class.

    Args:
        pattern: a regular expression (RE2) of one character.

    The table is made at the first use.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._pages: _Pages | None = None

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        """int32 `(characters,)` -> bool `(characters,)`."""
        if self._pages is None:
            with tf.init_scope():
                known, characters = every_character()
                values = np.zeros(_PAGES * _PAGE, np.int32)
                values[known] = tf.strings.regex_full_match(characters, self._pattern).numpy()
            self._pages = _Pages(values)
        return self._pages(codes) > 0


class CharacterMap:
    """What becomes of each character under a function of strings, as a table.

    Args:
        function: string `(n,)` -> string `(n,)`, which treats each character of a text by itself: to give a character
            to it alone must be the same as within a text.

    Example:
        >>> lower = CharacterMap(lambda text: tf.strings.lower(text, encoding="utf-8"))
        >>> lower(decode(tf.constant(["ÀB"]))).encode().numpy()[0].decode()
        'àb'
    """

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        with tf.init_scope():
            known, characters = every_character()
            becomes = tf.strings.unicode_decode(function(characters), "UTF-8")
            values, lengths = becomes.flat_values.numpy(), becomes.row_lengths().numpy()
        splits = np.concatenate([[0], np.cumsum(lengths)])
        first = np.append(values, -1)[np.minimum(splits[:-1], len(values))]
        changed = np.flatnonzero((lengths != 1) | (first != known))
        entry = np.zeros(_PAGES * _PAGE, np.int32)
        entry[known[changed]] = np.arange(1, len(changed) + 1)
        self._entry = _Pages(entry)
        self._lengths = np.concatenate([[1], lengths[changed]]).astype(np.int32)  # entry 0: as it is
        self._offsets = np.concatenate([[0], splits[:-1][changed]]).astype(np.int32)
        self._values = np.append(values, 0).astype(np.int32)

    def __call__(self, characters: Characters) -> Characters:
        """Return what becomes of the characters; each result has the place of the character it comes from."""
        codes = characters.codes.flat_values
        entry = self._entry(codes)
        lengths = tf.gather(tf.constant(self._lengths), entry)
        ends = tf.cumsum(lengths)
        origin = tf.repeat(tf.range(tf.size(codes)), lengths)  # (results,)
        within = tf.range(tf.size(origin)) - tf.gather(ends - lengths, origin)
        origin_entry = tf.gather(entry, origin)
        place = tf.gather(tf.constant(self._offsets), origin_entry) + within
        changed = tf.gather(tf.constant(self._values), tf.where(origin_entry > 0, place, 0))
        results = tf.where(origin_entry > 0, changed, tf.gather(codes, origin))
        splits = tf.gather(tf.concat([[0], ends], axis=0), characters.codes.row_splits)
        rows = tf.RaggedTensor.from_row_splits(results, tf.cast(splits, tf.int64), validate=False)
        starts = rows.with_flat_values(tf.gather(characters.starts.flat_values, origin))
        return Characters(rows, starts, rows.with_flat_values(tf.gather(characters.ends.flat_values, origin)))


def every_character() -> tuple[np.ndarray, tf.Tensor]:
    """Return every code point that may be assigned, and each as a string.

    Planes 3 to 13 have no characters.
    """
    planes = [(0, 0xD800), (0xE000, 0x40000), (0xE0000, 0x110000)]
    codes = np.concatenate([np.arange(first, last, dtype=np.int32) for first, last in planes])
    return codes, tf.strings.unicode_encode(codes[:, np.newaxis], "UTF-8")


MARKS = CharacterClass(_MARK)
"""Combining marks, which belong to the character before them."""
SPACES = CharacterClass(r"[\s\x{B}\x{85}\p{Z}]")
"""White space."""
# The ranges are those of the released code of BERT (Devlin et al., 2019), which calls them CJK characters.
WORDS_BY_THEMSELVES = CharacterClass(
    r"[!-/:-@\[-`{-~\p{P}\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}"
    r"\x{2B820}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
)
"""Punctuation and Chinese characters, each of which is a word to BERT."""
