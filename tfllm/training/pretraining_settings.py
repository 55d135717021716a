"""The settings of pre-training. Imports nothing heavy, so that the command line can show them."""

from dataclasses import dataclass

from tfllm.errors import ConfigError
from tfllm.training.settings import check_common

_COUNTS = (
    "epochs",
    "steps_per_epoch",
    "batch_size",
    "accumulate",
    "steps_per_execution",
    "checkpoint_steps",
    "keep_checkpoints",
)


@dataclass(frozen=True)
class PretrainConfig:
    """The settings of `pretrain`: its keyword arguments, its TOML keys and its command-line flags.

    Attributes:
        epochs: how many times to judge and store; an epoch has `steps_per_epoch` steps, however large the corpus is.
        steps_per_epoch: the steps of an epoch. The rows go on where the epoch before stopped; when all are used, they
            come again in another order.
        batch_size: rows a step, over all replicas; each is as long as the model's `max_length`.
        accumulate: split each step into so many passes, whose gradients are summed. The numbers stay the same.
        steps_per_execution: run so many steps in one call of a compiled graph, which saves the host's time between two
            steps. The numbers stay the same; callbacks are called once for all steps of a call. Only on one
            replica.
        recompute: keep only what goes into each block of the encoder, and compute the block again for its gradients
            (gradient checkpointing): less memory, slower steps, the same numbers.
        precision: float32, mixed_bfloat16, mixed_float16 (with loss scaling), or auto: half precision where the device
            has fast products for it. Weights and losses stay float32.
        optimizer: adamw, lamb (for large batches) or adafactor.
        learning_rate: the peak of the schedule.
        schedule: how the learning rate falls after the warm-up: linear, cosine, polynomial (the square), or constant.
        warmup: the share of all steps in which the learning rate rises.
        weight_decay: decoupled decay of all weights but biases and layer norms.
        clip_norm: the largest norm of the gradient; 0 for no clipping.
        validation_fraction: the share of the corpus to judge by instead of training on it, evenly spread, in pieces
            (paragraphs of files, or texts).
        checkpoint_steps: store the state every so many steps, or None.
        checkpoint_minutes: store the state when so many minutes have passed, or None.
        keep_checkpoints: how many states to keep.
        seed: fixes the order of the rows, the masks and the dropout.

    Raises:
        ConfigError: a value is out of its range.

    Example:
        >>> PretrainConfig(epochs=2).steps_per_epoch
        1000
    """

    epochs: int = 10
    steps_per_epoch: int = 1000
    batch_size: int = 64
    accumulate: int = 1
    steps_per_execution: int = 1
    recompute: bool = False
    precision: str = "float32"
    optimizer: str = "adamw"
    learning_rate: float = 5e-4
    schedule: str = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    validation_fraction: float = 0.0
    checkpoint_steps: int | None = None
    checkpoint_minutes: float | None = 10.0
    keep_checkpoints: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        check_common(self, _COUNTS)
        if not 0 <= self.validation_fraction < 1:
            raise ConfigError(f"Expected a validation_fraction of 0 to under 1. Received: {self.validation_fraction}.")
