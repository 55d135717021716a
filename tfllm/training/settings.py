"""The settings of fine-tuning. Imports nothing heavy, so that the command line can show them."""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfllm.data.labels import label_text
from tfllm.errors import ConfigError, choices_hint

_COUNTS = (
    "epochs",
    "batch_size",
    "batch_tokens",
    "accumulate",
    "max_tokens",
    "steps_per_execution",
    "unfreeze",
    "lora_rank",
    "patience",
    "checkpoint_steps",
    "keep_checkpoints",
)
CHOICES = {
    "precision": ("float32", "auto", "mixed_bfloat16", "mixed_float16"),
    "optimizer": ("adamw", "lamb", "adafactor"),
    "schedule": ("linear", "cosine", "polynomial", "constant"),
}
"""Settings that are one of several words."""
_JIT_CHOICES = ("off", "on", "auto")
CHANGEABLE = ("steps_per_execution", "checkpoint_steps", "checkpoint_minutes", "keep_checkpoints")
"""Settings that change no number: how steps are called and how a run is stored. They may change when it goes on."""


def check_common(config: Any, counts: Sequence[str]) -> None:
    """Check the settings that all trainings have.

    Args:
        config: the settings.
        counts: the settings that are None or at least 1.

    Raises:
        ConfigError: a value is out of its range, or not one of its choices.
    """
    for name, choices in CHOICES.items():
        require_choice(name, getattr(config, name), choices)
    for name in counts:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"Expected {name} of at least 1. Received: {name}={value}.")
    if not (math.isfinite(config.learning_rate) and config.learning_rate > 0):
        raise ConfigError(f"Expected a learning_rate over 0. Received: learning_rate={config.learning_rate}.")
    if not 0 <= config.warmup <= 1:
        raise ConfigError(f"Expected a warmup from 0 to 1. Received: warmup={config.warmup}.")
    if config.checkpoint_minutes is not None and not config.checkpoint_minutes > 0:
        raise ConfigError(
            f"Expected checkpoint_minutes over 0. Received: checkpoint_minutes={config.checkpoint_minutes}."
        )
    for name in ("weight_decay", "clip_norm", "seed"):
        value = getattr(config, name)
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"Expected {name} of at least 0. Received: {name}={value}.")


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise `ConfigError` unless a setting is one of its words."""
    if value not in choices:
        hint = choices_hint(value, choices)
        raise ConfigError(f"Expected {name} as one of its choices. Received: {value!r}. {hint}")


def plain_class_weight(class_weight: str | Mapping[Any, Any] | None) -> str | dict[str, float] | None:
    """Return the setting as plain data: labels as users see them, weights as floats.

    Raises:
        ConfigError: it is another word than "balanced", or a weight is no number of at least 0.
    """
    if class_weight is None or isinstance(class_weight, str):
        if class_weight in (None, "balanced"):
            return class_weight
        raise ConfigError(
            f"Expected class_weight as 'balanced', or as label -> weight. Received: {class_weight!r}. "
            "On the command line: --class-weight spam=3,ham=1"
        )
    for label, weight in class_weight.items():
        number = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
        if not (number and math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"Expected class_weight of at least 0 for each label. Received: {label!r}: {weight!r}.")
    return {label_text(label): float(weight) for label, weight in class_weight.items()}


@dataclass(frozen=True)
class FineTuneConfig:
    """The settings of `fine_tune`: its keyword arguments, its TOML keys and its command-line flags.

    Attributes:
        epochs: passes over the training rows.
        batch_size: rows a step, over all replicas.
        batch_tokens: tokens a step, over all replicas, instead of batch_size: as many rows of like length as have at
            most so many tokens, padding included, so that all steps take about as long. Of rows of several texts that
            are encoded one by one, the longest text counts. None for batch_size rows.
        accumulate: split each step into at least so many passes, whose gradients are summed. The numbers stay the same.
        max_tokens: the most tokens of one pass on one device, padding included: a step that has more is split into
            several passes. The numbers stay the same, the memory has a bound. None for no bound.
        steps_per_execution: run so many steps in one call of a compiled graph, which saves the host's time between two
            steps. The numbers stay the same; callbacks are called once for all steps of a call. Only on one
            replica.
        recompute: keep only what goes into each block of the encoder, and compute the block again for its gradients
            (gradient checkpointing): less memory for long texts, slower steps, the same numbers.
        precision: float32, mixed_bfloat16, mixed_float16 (with loss scaling), or auto: half precision where the device
            has fast products for it. Weights and losses stay float32.
        jit_compile: let XLA compile the forward and backward pass of a step: off, on, or auto, which is on GPUs only,
            since it is slower on processors. Batches are padded to a few lengths then, so that it compiles few times.
        optimizer: adamw, lamb or adafactor.
        learning_rate: the peak of the schedule.
        schedule: how the learning rate falls after the warm-up: linear, cosine, polynomial (the square), or constant.
        warmup: the share of all steps in which the learning rate rises.
        layer_decay: the learning rate of each layer as a share of that of the layer above.
        freeze: how many of the lowest blocks of the encoder keep their weights, with the embeddings; 0 for the
            embeddings alone, None for nothing.
        unfreeze: let the head learn alone in the first epoch, and so many more blocks in each later one, the highest
            first (gradual unfreezing); None for all from the beginning. With too few epochs the lowest never learn.
        lora_rank: train low-rank updates of the encoder's query and value products (LoRA) instead of its weights; they
            are added to the weights at the end. None for the weights themselves.
        ema: the momentum of a moving average of the weights, such as 0.999, which is judged and kept instead of the
            last weights; None for no average.
        r_drop: how much it counts that two passes over a row, with other dropout, agree (R-Drop); 0 for one pass. A
            step takes twice as long.
        weight_decay: decoupled decay of all weights but biases and layer norms.
        clip_norm: the largest norm of the gradient; 0 for no clipping.
        class_weight: how much rows count by their label: "balanced" lets every label count the same; or label ->
            weight (on the command line spam=3,ham=1), 1 for the labels that are left out.
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
    batch_tokens: int | None = None
    accumulate: int = 1
    max_tokens: int | None = None
    steps_per_execution: int = 1
    recompute: bool = False
    precision: str = "float32"
    jit_compile: str = "off"
    optimizer: str = "adamw"
    learning_rate: float = 5e-5
    schedule: str = "linear"
    warmup: float = 0.1
    layer_decay: float = 1.0
    freeze: int | None = None
    unfreeze: int | None = None
    lora_rank: int | None = None
    ema: float | None = None
    r_drop: float = 0.0
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    class_weight: str | dict[str, float] | None = None
    patience: int | None = None
    restore_best: bool = False
    checkpoint_steps: int | None = None
    checkpoint_minutes: float | None = 10.0
    keep_checkpoints: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        check_common(self, _COUNTS)
        require_choice("jit_compile", self.jit_compile, _JIT_CHOICES)
        object.__setattr__(self, "class_weight", plain_class_weight(self.class_weight))
        self._check_combinations()

    def _check_combinations(self) -> None:
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"Expected a layer_decay over 0, at most 1. Received: layer_decay={self.layer_decay}.")
        if self.freeze is not None and (self.freeze < 0 or self.lora_rank is not None):
            raise ConfigError(
                "Expected freeze of at least 0, and not with lora_rank, which freezes the whole encoder. "
                f"Received: freeze={self.freeze}, lora_rank={self.lora_rank}."
            )
        if not (math.isfinite(self.r_drop) and self.r_drop >= 0):
            raise ConfigError(f"Expected r_drop of at least 0. Received: r_drop={self.r_drop}.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ConfigError(f"Expected ema between 0 and 1. Received: ema={self.ema}.")
