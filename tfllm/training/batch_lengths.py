"""Which lengths batches are padded to: a processor or a compiler makes kernels for each, and keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.tasks.base import Task
from tfllm.training.settings import FineTuneConfig

_MOST_COMPILED = 8
_COMPILED_UNIT = 8
_SINGLE = 32
_OF_TOKENS = ("token_ids", "padding_mask", "segment_ids")


@dataclass(frozen=True)
class BatchLengths:
    """The lengths that batches are padded to.

    Attributes:
        lengths: ascending; the last one is the most tokens that a row can have.

    Example:
        >>> lengths = BatchLengths(np.array([16, 24, 30], np.int32))
        >>> lengths.round_up(np.array([3, 16, 17, 25])).tolist()
        [16, 16, 24, 30]
    """

    lengths: np.ndarray

    @classmethod
    def every(cls, longest: int) -> "BatchLengths":
        """Choose every length up to the longest that there can be: a batch is padded to its own longest row."""
        return cls(np.arange(longest + 1, dtype=np.int32))

    @classmethod
    def graded(cls, longest: int) -> "BatchLengths":
        """Choose every length up to 32, then every fourth, above 128 every eighth, above 256 every sixteenth and so on.

        So one token in fifty is added in the mean (one in thirty up to 64 tokens, none up to 32), and texts of 512
        tokens at most have 88 lengths.

        Example:
            >>> BatchLengths.graded(135).lengths[30:40].tolist(), BatchLengths.graded(135).lengths[-3:].tolist()
            ([30, 31, 32, 36, 40, 44, 48, 52, 56, 60], [124, 128, 135])
        """
        every = np.arange(longest + 1)
        octaves = np.ceil(np.log2(np.maximum(every, 1) / _SINGLE))
        units = np.exp2(np.maximum(octaves, 2))  # 4, or more above 128
        return cls(every[(every <= _SINGLE) | (every % units == 0) | (every == longest)].astype(np.int32))

    @classmethod
    def few(cls, lengths: np.ndarray, longest: int) -> "BatchLengths":
        """Choose eight lengths at most, each for as many rows as another, and the longest that there can be.

        Args:
            lengths: tokens of each row, int `(rows,)`.
            longest: the most tokens that a row can have.

        Example:
            >>> BatchLengths.few(np.array([3, 9, 10, 17]), longest=30).lengths.tolist()
            [16, 24, 30]
        """
        shares = np.quantile(lengths, np.arange(1, _MOST_COMPILED + 1) / _MOST_COMPILED, method="higher")
        rounded = -(-shares // _COMPILED_UNIT) * _COMPILED_UNIT  # of odd sizes XLA makes slower products
        return cls(np.unique(np.minimum([*rounded, longest], longest).astype(np.int32)))

    def round_up(self, lengths: np.ndarray) -> np.ndarray:
        """Return what rows of these lengths, int `(rows,)`, are padded to."""
        return self.lengths[np.searchsorted(self.lengths, lengths)]

    def pad(self, batch: Sequence[Any], pad_token_id: int, *, tokens_have_targets: bool) -> tuple[Any, ...]:
        """Pad tokens, and what belongs to each token, to one of the lengths.

        Args:
            batch: tokens, targets and perhaps weights, as `Task.preprocess_samples` gives them.
            pad_token_id: the token to pad with; it is masked.
            tokens_have_targets: whether targets and weights are `(batch, sequence)` too.
        """
        tokens, *others = batch
        width = tf.shape(tokens["token_ids"])[1]
        index = tf.searchsorted(self.lengths, tf.reshape(width, [1]))[0]
        more = [[0, 0], [0, tf.constant(self.lengths)[index] - width]]
        padded = dict(tokens)
        for name in tokens.keys() & set(_OF_TOKENS):
            padded[name] = tf.pad(tokens[name], more, constant_values=pad_token_id if name == "token_ids" else 0)
        return padded, *(tf.pad(other, more) if tokens_have_targets else other for other in others)


def choose_lengths(config: FineTuneConfig, model: Task, lengths: np.ndarray, *, compiled: bool) -> BatchLengths:
    """Return the lengths that a run's batches are padded to.

    Budgets of tokens count padding, so with these a batch is padded to its longest row.

    Args:
        config: the settings.
        model: the task.
        lengths: tokens of each row, int `(rows,)`.
        compiled: whether XLA compiles the passes.
    """
    longest = max(model.preprocessor.max_length, int(lengths.max(initial=0)))
    if config.batch_tokens is not None or config.max_tokens is not None:
        return BatchLengths.every(longest)
    if compiled or isinstance(model.distribute_strategy, tf.distribute.TPUStrategy):  # which compiles by itself
        return BatchLengths.few(lengths, longest)
    return BatchLengths.graded(longest)
