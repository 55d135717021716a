"""Windows over long texts, in TensorFlow: a text with more tokens than fit is read in parts that overlap."""

from typing import NamedTuple

import tensorflow as tf


class Windows(NamedTuple):
    """Parts of the texts of a batch. All are int32 `(windows,)`.

    Attributes:
        rows: the text that a window is a part of.
        starts: its first token, counted in the text.
        lengths: how many tokens it has.
    """

    rows: tf.Tensor
    starts: tf.Tensor
    lengths: tf.Tensor


def cut_windows(lengths: tf.Tensor, room: tf.Tensor, overlap: tf.Tensor) -> Windows:
    """Cut texts into windows, in the order of the texts; each text has at least one.

    Args:
        lengths: tokens of each text, int32 `(batch,)`.
        room: tokens that fit in a window of the text, int32 `(batch,)`, at least 1.
        overlap: tokens that a window has in common with the one before it, int32 `(batch,)`, less than `room`.

    Reference:
        Devlin et al., 2019, "BERT", released code of SQuAD: the sliding window.

    Example:
        >>> cut_windows(tf.constant([2, 7]), tf.constant([4, 4]), tf.constant([1, 1])).starts.numpy().tolist()
        [0, 0, 3]
    """
    counts = windows_of(lengths, room, overlap)
    rows = tf.repeat(tf.range(tf.size(lengths)), counts)
    number = tf.ragged.range(counts).flat_values
    return window_at(lengths, room, overlap, rows, number)


def windows_of(lengths: tf.Tensor, room: tf.Tensor, overlap: tf.Tensor) -> tf.Tensor:
    """Return how many windows each text has, int32 `(batch,)`."""
    return 1 + -(-tf.maximum(lengths - room, 0) // (room - overlap))


def window_at(lengths: tf.Tensor, room: tf.Tensor, overlap: tf.Tensor, rows: tf.Tensor, number: tf.Tensor) -> Windows:
    """Return the windows of the given numbers, in the given texts: int32 `(windows,)` each."""
    starts = number * tf.gather(room - overlap, rows)
    return Windows(rows, starts, tf.minimum(tf.gather(lengths, rows) - starts, tf.gather(room, rows)))


def select(windows: Windows, values: tf.RaggedTensor) -> tf.RaggedTensor:
    """Return what a ragged tensor `(batch, (tokens))` holds in each window: `(windows, (tokens))`."""
    index = token_index(windows, values)
    return index.with_flat_values(tf.gather(values.flat_values, index.flat_values))


def token_index(windows: Windows, values: tf.RaggedTensor) -> tf.RaggedTensor:
    """Return the flat index of each token of each window, int32 `(windows, (tokens))`."""
    begins = tf.gather(tf.cast(values.row_starts(), tf.int32), windows.rows) + windows.starts
    return tf.ragged.range(begins, begins + windows.lengths, row_splits_dtype=tf.int64)


def merge_windows(windows: Windows, values: tf.Tensor, tokens: tf.RaggedTensor) -> tf.Tensor:
    """Return one value for each token: that of the window in which it has the most context on its shorter side.

    Args:
        windows: the windows.
        values: float `(windows, width, size)`: in each window a vector for each of its tokens, and padding.
        tokens: ragged `(batch, (tokens))`: whose tokens they are.

    Returns:
        float `(tokens, size)`, in the order of `tokens.flat_values`.
    """
    index = token_index(windows, tokens)
    width = tf.cast(tf.shape(values)[1], tf.int64)
    flat = tf.boolean_mask(values, tf.sequence_mask(windows.lengths, width))  # (tokens in windows, size)
    total = tf.size(tokens.flat_values)
    place = tf.ragged.range(windows.lengths, row_splits_dtype=tf.int64)
    window = place.value_rowids()
    context = tf.minimum(place.flat_values, tf.gather(windows.lengths, window) - 1 - place.flat_values)
    # Of windows with the same context the first one counts.
    rank = tf.cast(context, tf.int64) * index.nrows() + (index.nrows() - 1 - window)
    best = tf.math.unsorted_segment_max(rank, index.flat_values, total)
    chosen = rank == tf.gather(best, index.flat_values)
    return tf.math.unsorted_segment_sum(
        tf.boolean_mask(flat, chosen), tf.boolean_mask(index.flat_values, chosen), total
    )
