"""The settings of fine-tuning. Imports nothing heavy, so that the command line can show them."""

import math
from dataclasses import dataclass

from tfllm.errors import ConfigError

_COUNTS = ("epochs", "batch_size", "accumulate", "max_tokens", "patience", "checkpoint_steps", "keep_checkpoints")
STORING = ("checkpoint_steps", "checkpoint_minutes", "keep_checkpoints")
"""Settings that say how a run is stored, and may change when it goes on."""


@dataclass(frozen=True)
class FineTuneConfig:
    """The settings of `fine_tune`: its keyword arguments, its TOML keys and its command-line flags.

    Attributes:
        epochs: passes over the training rows.
        batch_size: rows a step, over all replicas.
        accumulate: split each step into at least so many passes, whose gradients are summed. The numbers stay the same.
        max_tokens: the most tokens of one pass on one device, padding included: a step that has more is split into
            several passes. The numbers stay the same, the memory has a bound. None for no bound.
        learning_rate: the peak of the schedule.
        warmup: the share of all steps in which the learning rate rises.
        weight_decay: decoupled decay of all weights but biases and layer norms.
        clip_norm: the largest norm of the gradient; 0 for no clipping.
        balance_classes: weigh rows so that every label counts the same.
        patience: stop after so many epochs without a better one on the validation rows, or None.
        restore_best: end with the weights of the best epoch on the validation rows instead of the last.
        checkpoint_steps: store the state every so many steps, or None.
        checkpoint_minutes: store the state when so many minutes have passed, or None.
        keep_checkpoints: how many states to keep.
        seed: fixes the order of the rows and the dropout.

    Raises:
        ConfigError: a value is out of its range.

    Example:
        >>> FineTuneConfig(epochs=2).batch_size
        32
    """

    epochs: int = 3
    batch_size: int = 32
    accumulate: int = 1
    max_tokens: int | None = None
    learning_rate: float = 5e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    balance_classes: bool = False
    patience: int | None = None
    restore_best: bool = False
    checkpoint_steps: int | None = None
    checkpoint_minutes: float | None = 10.0
    keep_checkpoints: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"Expected {name} of at least 1. Received: {name}={value}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigError(f"Expected a learning_rate over 0. Received: learning_rate={self.learning_rate}.")
        if not 0 <= self.warmup <= 1:
            raise ConfigError(f"Expected a warmup from 0 to 1. Received: warmup={self.warmup}.")
        if self.checkpoint_minutes is not None and not self.checkpoint_minutes > 0:
            raise ConfigError(
                f"Expected checkpoint_minutes over 0. Received: checkpoint_minutes={self.checkpoint_minutes}."
            )
        for name, value in {"weight_decay": self.weight_decay, "clip_norm": self.clip_norm, "seed": self.seed}.items():
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"Expected {name} of at least 0. Received: {name}={value}.")
