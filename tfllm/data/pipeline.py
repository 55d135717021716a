"""Batches for training: rows of like length together, in an order that seed and epoch fix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.data.schema import TextDataset

_WINDOW_BATCHES = 50
_CHUNK_ROWS = 1024
_EQUAL_SHARES = 435  # tokens of a row where attention's scores need as much memory as all else

Column = Sequence[str] | np.ndarray
Preprocess = Callable[..., dict[str, tf.Tensor]]


@dataclass(frozen=True)
class TrainingRows:
    """Rows ready to be planned.

    Attributes:
        columns: what goes in, each `(rows,)`: texts, or an array of numbers.
        targets: what to learn, `(rows, ...)`; a ragged tensor where rows have different numbers of them.
        lengths: tokens of each row, int `(rows,)`.
    """

    columns: Sequence[Column]
    targets: np.ndarray | tf.RaggedTensor
    lengths: np.ndarray


def row_columns(data: TextDataset) -> list[list[str]]:
    """Return the text columns: one list of texts, two, or three."""
    names = [name for name in (data.text, data.text_pair, data.text_negative) if name is not None]
    return [data.frame[name].tolist() for name in names]


def token_lengths(columns: Sequence[Sequence[str]], preprocess: Preprocess) -> np.ndarray:
    """Return how many tokens each row has.

    Args:
        columns: one or two columns of texts.
        preprocess: texts `(batch,)` -> tokens with a `padding_mask` `(batch, sequence)`.

    Returns:
        int32 `(rows,)`.
    """
    lengths = []
    for start in range(0, len(columns[0]), _CHUNK_ROWS):
        chunk = [tf.constant(list(column[start : start + _CHUNK_ROWS]), tf.string) for column in columns]
        lengths.append(tf.reduce_sum(preprocess(*chunk)["padding_mask"], axis=1).numpy())
    return np.concatenate(lengths)


def plan_epoch(
    lengths: np.ndarray, batch_size: int, batch_tokens: int | None = None, *, seed: int, epoch: int
) -> list[np.ndarray]:
    """Choose the batches of one epoch: each row once, rows of like length together, in random order.

    Rows are shuffled, cut into windows of 50 batches, sorted by length within a window, and cut into batches, whose
    order is shuffled. So a batch needs little padding, and epochs still differ. The batch that needs
    most memory comes first, so that what does not fit fails in the first step and not hours later.

    Args:
        lengths: tokens of each row, int `(rows,)`.
        batch_size: rows a batch; the last one may have fewer.
        batch_tokens: the most tokens of a batch, padding included, instead of batch_size; a longer row goes alone.
        seed: with `epoch`, fixes the plan.
        epoch: the epoch's number.

    Returns:
        The row numbers of each batch.

    Example:
        >>> plan = plan_epoch(np.array([3, 9, 3, 9]), 2, seed=0, epoch=0)
        >>> sorted(sorted(batch.tolist()) for batch in plan)
        [[0, 2], [1, 3]]
        >>> plan = plan_epoch(np.array([3, 9, 3, 9]), 2, 9, seed=0, epoch=0)
        >>> sorted(sorted(batch.tolist()) for batch in plan)
        [[0, 2], [1], [3]]
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    if batch_tokens is None:
        size = batch_size * _WINDOW_BATCHES
        windows = [order[start : start + size] for start in range(0, len(order), size)]
        batches = [batch for window in windows for batch in _by_rows(window, lengths, batch_size)]
    else:
        numbers = np.cumsum(lengths[order]) // (batch_tokens * _WINDOW_BATCHES)
        batches, left = [], order[:0]
        for window in np.split(order, np.flatnonzero(np.diff(numbers)) + 1):
            *full, left = _by_tokens(np.concatenate([left, window]), lengths, batch_tokens)
            batches += full
        batches.append(left)
    batches = [batches[index] for index in generator.permutation(len(batches))]
    if batches:
        largest = int(np.argmax([_memory(len(batch), lengths[batch].max(initial=0)) for batch in batches]))
        batches[0], batches[largest] = batches[largest], batches[0]
    return batches


def _memory(rows: int, length: int) -> int:
    """Return what grows as the activations of a batch: Korthikanti et al., 2022, equation 1, with heads of size 64."""
    return rows * int(length) * (_EQUAL_SHARES + int(length))


def plan_in_order(lengths: np.ndarray, batch_size: int, batch_tokens: int | None = None) -> list[np.ndarray]:
    """Choose batches for evaluation: sorted by length, each row once. The arguments are those of `plan_epoch`."""
    rows = np.arange(len(lengths))
    return _by_rows(rows, lengths, batch_size) if batch_tokens is None else _by_tokens(rows, lengths, batch_tokens)


def _by_rows(rows: np.ndarray, lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut rows into batches, the shortest first; the last one may not be full."""
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    return [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]


def _by_tokens(rows: np.ndarray, lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Cut rows into batches, the longest first, so that the one that may not be full has short rows."""
    rows = rows[np.argsort(-lengths[rows], kind="stable")]
    batches, start = [], 0
    while start < len(rows):
        size = max(1, batch_tokens // max(1, int(lengths[rows[start]])))
        batches.append(rows[start : start + size])
        start += size
    return batches


def row_gatherer(
    rows: TrainingRows, *, sample_weight: np.ndarray | None = None
) -> Callable[[tf.Tensor], tuple[Any, ...]]:
    """Return a function, for tf.data, that takes row numbers and returns their rows.

    Args:
        rows: the rows.
        sample_weight: float32 `(rows,)` or None.

    Returns:
        Int64 `(batch,)` -> `(columns, targets)` or `(columns, targets, sample_weight)`; columns are one `(batch,)`, or
        a tuple of several. Tokenization is mapped over it by the task.
    """
    columns = [tf.constant(c if isinstance(c, np.ndarray) else list(c)) for c in rows.columns]
    goals = rows.targets if isinstance(rows.targets, tf.RaggedTensor) else tf.constant(rows.targets)
    weights = None if sample_weight is None else tf.constant(sample_weight, tf.float32)

    def gather(numbers: tf.Tensor) -> tuple[Any, ...]:
        inputs = tuple(tf.gather(column, numbers) for column in columns)
        answer = (inputs if len(inputs) > 1 else inputs[0], tf.gather(goals, numbers))
        return answer if weights is None else (*answer, tf.gather(weights, numbers))

    return gather
