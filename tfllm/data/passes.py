"""Forward and backward passes: how the rows of a training step are split over replicas and over time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.data.pipeline import TrainingRows, row_gatherer


@dataclass(frozen=True)
class Passes:
    """The passes of a plan's steps.

    Attributes:
        rows: for each pass, the row numbers that each replica takes; an empty array where it has none.
        counts: how many passes each step has.

    Example:
        >>> passes = plan_passes([np.array([0, 1, 2])], np.array([3, 9, 4]), replicas=2)
        >>> [[rows.tolist() for rows in replicas] for replicas in passes.rows]
        [[[0, 2], [1]]]
    """

    rows: list[list[np.ndarray]]
    counts: list[int]

    def tokens(self, lengths: np.ndarray, padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count the tokens of each step.

        Args:
            lengths: tokens of each row, int `(rows,)`.
            padded: what a batch is padded to whose longest row this is, int `(rows,)`.

        Returns:
            Tokens, and positions that are computed, padding included, int `(steps,)` each.

        Example:
            >>> passes = Passes([[np.array([0, 1])], [np.array([2])]], [1, 1])
            >>> passes.tokens(np.array([3, 9, 4]), padded=np.array([4, 12, 4]))
            (array([12,  4]), array([24,  4]))
        """
        if not self.counts:
            return np.zeros(0, int), np.zeros(0, int)
        parts = [[part for part in replicas if len(part)] for replicas in self.rows]
        real = [sum(int(lengths[part].sum()) for part in each) for each in parts]
        computed = [sum(len(part) * int(padded[part].max()) for part in each) for each in parts]
        first = np.cumsum([0, *self.counts[:-1]])
        return np.add.reduceat(real, first), np.add.reduceat(computed, first)


def plan_passes(
    plan: Sequence[np.ndarray],
    lengths: np.ndarray,
    *,
    replicas: int = 1,
    accumulate: int = 1,
    max_tokens: int | None = None,
) -> Passes:
    """Split each step's rows over replicas, and over passes one after another whose gradients are summed.

    Rows of like length stay together. All replicas have as many passes in a step.

    Args:
        plan: the row numbers of each step.
        lengths: tokens of each row, int `(rows,)`.
        replicas: how many take part.
        accumulate: the least number of passes a step.
        max_tokens: the most tokens of one pass of one replica, padding included; a single row may have more.
    """
    rows, counts = [], []
    for step in plan:
        ordered = step[np.argsort(lengths[step], kind="stable")]
        count = accumulate
        while max_tokens is not None and not _fits(ordered, lengths, count * replicas, max_tokens):
            count += 1
        parts = np.array_split(ordered, count * replicas)
        rows += [parts[at : at + replicas] for at in range(0, len(parts), replicas)]
        counts.append(count)
    return Passes(rows, counts)


def _fits(ordered: np.ndarray, lengths: np.ndarray, parts: int, max_tokens: int) -> bool:
    if parts >= len(ordered):
        return True
    return all(len(part) * lengths[part].max() <= max_tokens for part in np.array_split(ordered, parts))


def make_passes(
    rows: TrainingRows, parts: Callable[[], Iterable[np.ndarray]], *, sample_weight: np.ndarray | None = None
) -> tf.data.Dataset:
    """Make the batches of some replicas, pass after pass.

    One dataset serves a whole run, since TensorFlow takes seconds to build one that tokenizes.

    Args:
        rows: the rows.
        parts: gives the row numbers of each pass of each replica, one after the other; it need not end.
        sample_weight: float32 `(rows,)` or None.

    Returns:
        A dataset of `(batch, count)`: a batch as `row_gatherer` gives it, and how many of its rows count, int32. A
        replica without rows gets one row that does not count, since TensorFlow's loss of no rows is not a number.
    """

    def filled() -> Iterator[tuple[np.ndarray, np.int32]]:
        for part in parts():
            yield part if len(part) else np.zeros(1, np.int64), np.int32(len(part))

    gather = row_gatherer(rows, sample_weight=sample_weight)
    numbers = tf.data.Dataset.from_generator(filled, output_signature=(_NUMBERS, tf.TensorSpec([], tf.int32)))

    @tf.autograph.experimental.do_not_convert
    def batch(numbers: tf.Tensor, count: tf.Tensor) -> tuple[tuple[Any, ...], tf.Tensor]:
        return gather(numbers), count

    return numbers.map(batch, num_parallel_calls=tf.data.AUTOTUNE)


_NUMBERS = tf.TensorSpec([None], tf.int64)
