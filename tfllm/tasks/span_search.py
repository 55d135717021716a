"""Spans of a context: the best answer among all of them, and what training compares with, in TensorFlow."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tfllm.tasks.tokenizers.spans import TokenSpans
from tfllm.tasks.windows import Windows

_NEVER = -1e9


class BestSpans(NamedTuple):
    """The best span of each text. All are `(batch,)`.

    Attributes:
        first: int32, the span's first token, counted in the context.
        last: int32, its last token.
        found: bool, whether there is any span at all.
        probability: float32, of that span, among all spans of all windows and no answer.
        margin: float32, the score of no answer over that of the span; with more than 0, no answer is the likelier one.
        none: float32, the probability of no answer.
    """

    first: tf.Tensor
    last: tf.Tensor
    found: tf.Tensor
    probability: tf.Tensor
    margin: tf.Tensor
    none: tf.Tensor


def best_spans(
    logits: tf.Tensor, is_context: tf.Tensor, begins: tf.Tensor, windows: Windows, rows: tf.Tensor, longest: int
) -> BestSpans:
    """Search all spans of all windows.

    The score of a span is the sum of its start and end logits, that of no answer the sum at the first token, the
    lowest of all windows.

    Args:
        logits: start and end, float32 `(windows, sequence, 2)`.
        is_context: the tokens that an answer can begin and end with, bool `(windows, sequence)`.
        begins: where the context begins in each window, int32 `(windows,)`.
        windows: the windows over the contexts.
        rows: how many texts there are, a scalar.
        longest: the most tokens of an answer.

    Reference:
        Devlin et al., 2019, "BERT", sections 4.2 and 4.3.
    """
    width = tf.shape(logits)[1]
    start = tf.where(is_context, logits[..., 0], _NEVER)
    end = tf.pad(tf.where(is_context, logits[..., 1], _NEVER), [[0, 0], [0, longest - 1]], constant_values=_NEVER)
    place = tf.range(width)[:, tf.newaxis] + tf.range(longest)[tf.newaxis, :]  # (sequence, longest): where spans end
    scores = start[..., tf.newaxis] + tf.gather(end, place, axis=1)  # (windows, sequence, longest)
    scores = tf.reshape(scores, [tf.shape(scores)[0], width * longest])
    top = tf.reduce_max(scores, axis=-1)  # (windows,)
    flat = tf.argmax(scores, axis=-1, output_type=tf.int32)
    first = flat // longest - begins + windows.starts
    best = tf.math.unsorted_segment_max(top, windows.rows, rows)  # (batch,)
    number = tf.range(tf.size(top))
    is_best = top == tf.gather(best, windows.rows)
    chosen = tf.math.unsorted_segment_min(tf.where(is_best, number, tf.int32.max), windows.rows, rows)
    none = tf.math.unsorted_segment_min(logits[:, 0, 0] + logits[:, 0, 1], windows.rows, rows)
    # All exponentials relative to the largest of a text, so that none overflows.
    largest = tf.maximum(best, none)
    relative = tf.reduce_sum(tf.exp(scores - tf.gather(largest, windows.rows)[:, tf.newaxis]), axis=-1)
    no_answer = tf.exp(none - largest)
    total = tf.math.unsorted_segment_sum(relative, windows.rows, rows) + no_answer
    return BestSpans(
        tf.gather(first, chosen),
        tf.gather(first + flat % longest, chosen),
        best > _NEVER / 2,
        tf.exp(best - largest) / total,
        none - best,
        no_answer / total,
    )


def without_padding(logits: tf.Tensor, padding_mask: tf.Tensor) -> tf.Tensor:
    """Make padding, `(batch, sequence)`, never the first or last token by its logits `(batch, sequence, 2)`."""
    is_token = tf.cast(padding_mask, tf.bool)[:, :, tf.newaxis]
    return tf.where(is_token, logits, tf.constant(_NEVER, logits.dtype))


@keras.saving.register_keras_serializable("tfllm")
def span_loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the mean cross-entropy of the first and the last token of the answer, float32 `(batch, 2)`."""
    return keras.losses.sparse_categorical_crossentropy(targets, tf.transpose(logits, [0, 2, 1]), from_logits=True)


@keras.saving.register_keras_serializable("tfllm")
def span_accuracy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return whether both the first and the last token are right, float32 `(batch,)`."""
    right = tf.argmax(logits, axis=1, output_type=tf.int32) == tf.cast(targets, tf.int32)
    return tf.cast(tf.reduce_all(right, axis=-1), tf.float32)


def tokens_of_places(spans: TokenSpans, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the first and the last token that overlaps each place `(batch, 2)`; the first is the larger for none."""
    rows = spans.ids.value_rowids()
    start, end = tf.gather(places[:, 0], rows), tf.gather(places[:, 1], rows)
    overlaps = (spans.ends.flat_values > start) & (spans.starts.flat_values < end)
    overlaps &= spans.starts.flat_values < spans.ends.flat_values
    number = tf.cast(tf.ragged.range(spans.ids.row_lengths()).flat_values, tf.int32)
    row = tf.where(overlaps, rows, -1)
    size = spans.ids.nrows()
    first = tf.math.unsorted_segment_min(number, row, size)
    return first, tf.math.unsorted_segment_max(number, row, size)


def value_at(values: tf.RaggedTensor, place: tf.Tensor) -> tf.Tensor:
    """Return the value at a place of each row, 0 where the row does not reach so far."""
    flat = tf.concat([values.flat_values, [0]], axis=0)
    index = tf.cast(values.row_starts(), tf.int32) + tf.maximum(place, 0)
    return tf.gather(flat, tf.minimum(index, tf.size(flat) - 1))
