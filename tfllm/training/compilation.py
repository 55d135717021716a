"""XLA for the forward and backward pass of a step: where it is used, and batches of few lengths for it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.tasks.base import Task
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.question_answerer import QuestionAnswerer
from tfllm.training.settings import FineTuneConfig

_MOST_LENGTHS = 8
_UNIT = 8


def choose_jit(config: FineTuneConfig, model: Task) -> bool:
    """Return whether XLA compiles the passes of a run's steps.

    "auto" is on GPUs, where batches have few shapes.

    Raises:
        ConfigError: it is asked for where it cannot be.

    Example:
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> choose_jit(FineTuneConfig(), TextClassifier.from_preset("micro_bert", labels=["bad", "good"]))
        False
    """
    obstacle = _obstacle(config, model)
    if config.jit_compile == "on" and obstacle is not None:
        raise ConfigError(f"Expected jit_compile='off' or 'auto' with {obstacle}. Received: 'on'.")
    if config.jit_compile == "auto":
        return obstacle is None and bool(tf.config.list_physical_devices("GPU"))
    return config.jit_compile == "on"


def _obstacle(config: FineTuneConfig, model: Task) -> str | None:
    for name in ("batch_tokens", "max_tokens"):
        if getattr(config, name) is not None:
            return f"{name}, which gives passes other numbers of rows, each of which would be compiled"
    if isinstance(model, MaskedLM):
        return "a MaskedLM, whose batches have other numbers of masks"
    if isinstance(model, QuestionAnswerer):
        return "a QuestionAnswerer, whose loss would change with more padding"
    if isinstance(model.distribute_strategy, tf.distribute.TPUStrategy):
        return "a TPU, which compiles all by itself"
    return None


@dataclass(frozen=True)
class FixedLengths:
    """The few lengths that batches are padded to, so that XLA compiles few times.

    Attributes:
        lengths: ascending; the last one is the most tokens that a row can have.

    Example:
        >>> fixed = FixedLengths.of(np.array([3, 9, 10, 17]), longest=30)
        >>> fixed.lengths.tolist(), fixed.round_up(np.array([3, 8, 9, 25])).tolist()
        ([16, 24, 30], [16, 16, 16, 30])
    """

    lengths: np.ndarray

    @classmethod
    def of(cls, lengths: np.ndarray, longest: int) -> "FixedLengths":
        """Choose at most eight lengths, each for as many rows as another, and the longest that there can be.

        Args:
            lengths: tokens of each row, int `(rows,)`.
            longest: the most tokens that a row can have.
        """
        longest = max(longest, int(lengths.max()))
        shares = np.quantile(lengths, np.arange(1, _MOST_LENGTHS + 1) / _MOST_LENGTHS, method="higher")
        rounded = -(-shares // _UNIT) * _UNIT  # of odd sizes XLA makes slower products
        return cls(np.unique(np.minimum([*rounded, longest], longest).astype(np.int32)))

    def round_up(self, lengths: np.ndarray) -> np.ndarray:
        """Return what rows of these lengths, int `(rows,)`, are padded to."""
        return self.lengths[np.searchsorted(self.lengths, lengths)]

    def pad(self, batch: tuple[Any, ...], pad_token_id: int) -> tuple[Any, ...]:
        """Pad tokens, and what belongs to each token, to one of the lengths.

        Args:
            batch: tokens, targets and perhaps weights, as `Task.preprocess_samples` gives them.
            pad_token_id: the token to pad with; it is masked.
        """
        tokens, *others = batch
        width = tf.shape(tokens["token_ids"])[1]
        index = tf.searchsorted(self.lengths, tf.reshape(width, [1]))[0]
        more = [[0, 0], [0, tf.constant(self.lengths)[index] - width]]
        padded = dict(tokens)
        for name in tokens.keys() & {"token_ids", "padding_mask", "segment_ids"}:
            padded[name] = tf.pad(tokens[name], more, constant_values=pad_token_id if name == "token_ids" else 0)
        of_tokens = [other is not None and other.shape.rank == 2 and other.shape[1] is None for other in others]
        return padded, *(tf.pad(o, more) if each else o for o, each in zip(others, of_tokens, strict=True))


@contextlib.contextmanager
def named_refusal(compiled: bool) -> Iterator[None]:
    """Say what to do where XLA cannot compile what runs in the block, if it is asked to.

    Raises:
        ConfigError: XLA refused an operator.
    """
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        if not (compiled and "XLA" in str(error)):
            raise
        reason = next((line for line in error.message.splitlines() if "XLA" in line), error.message)
        raise ConfigError(
            f"Expected passes of operators that XLA can compile. Received: {reason.strip()} Use jit_compile='off'."
        ) from error
