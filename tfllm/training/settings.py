"""The settings of fine-tuning. Imports nothing heavy, so that the command line can show them."""

import math
from dataclasses import dataclass

from tfllm.errors import ConfigError


@dataclass(frozen=True)
class FineTuneConfig:
    """The settings of `fine_tune`: its keyword arguments, its TOML keys and its command-line flags.

    Attributes:
        epochs: passes over the training rows.
        batch_size: rows a step.
        learning_rate: the peak of the schedule.
        warmup: the share of all steps in which the learning rate rises.
        weight_decay: decoupled decay of all weights but biases and layer norms.
        clip_norm: the largest norm of the gradient; 0 for no clipping.
        balance_classes: weigh rows so that every label counts the same.
        patience: stop after so many epochs without a better one on the validation rows, or None.
        restore_best: end with the weights of the best epoch on the validation rows instead of the last.
        seed: fixes the order of the rows and the dropout.

    Raises:
        ConfigError: a value is out of its range.

    Example:
        >>> FineTuneConfig(epochs=2).batch_size
        32
    """

    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 5e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    balance_classes: bool = False
    patience: int | None = None
    restore_best: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "batch_size": self.batch_size, "patience": self.patience}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ConfigError(f"Expected {name} of at least 1. Received: {name}={value}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigError(f"Expected a learning_rate over 0. Received: learning_rate={self.learning_rate}.")
        if not 0 <= self.warmup <= 1:
            raise ConfigError(f"Expected a warmup from 0 to 1. Received: warmup={self.warmup}.")
        for name, value in {"weight_decay": self.weight_decay, "clip_norm": self.clip_norm, "seed": self.seed}.items():
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"Expected {name} of at least 0. Received: {name}={value}.")
