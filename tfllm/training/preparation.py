"""What fine-tuning and pre-training do to a model before the first step: how it computes, and what updates it."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.memory import kept_memory
from tfllm.tasks.base import Task
from tfllm.training.lean_layers import lean_layers
from tfllm.training.optimizers import make_optimizer
from tfllm.training.precision import choose_precision, encoder_precision
from tfllm.training.pretraining_settings import PretrainConfig
from tfllm.training.recomputation import recomputed_blocks
from tfllm.training.replica_draws import replica_draws
from tfllm.training.schedules import WarmupDecay
from tfllm.training.settings import FineTuneConfig

Config = FineTuneConfig | PretrainConfig


@contextlib.contextmanager
def computing(model: Task, config: Config) -> Iterator[None]:
    """Let a task compute as the settings ask while the block runs.

    Precision, recomputation, no needless work, memory that is kept from step to step, and on several replicas dropout
    of their own.

    Raises:
        ConfigError: several steps are to be one call on several replicas.
    """
    require_one_replica(model, config)
    with (
        kept_memory(),
        encoder_precision(model, choose_precision(config.precision, model.distribute_strategy)),
        lean_layers(model),
        replica_draws(model),
        recomputed_blocks(model) if config.recompute else contextlib.nullcontext(),
    ):
        yield


def require_one_replica(model: Task, config: Config) -> None:
    """Raise `ConfigError` where several steps are to be one call on several replicas, or under workers' strategy.

    TensorFlow's collective operations have one shape within a call, but batches differ in length; and workers ask each
    other at every tenth step whether one of them was asked to stop.
    """
    strategy = model.distribute_strategy
    replicas, workers = strategy.num_replicas_in_sync, isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if config.steps_per_execution > 1 and (replicas > 1 or workers):
        raise ConfigError(
            "Expected steps_per_execution=1 with several replicas or workers, whose gradients TensorFlow cannot gather "
            f"within one call. Received: {config.steps_per_execution} with {replicas} replicas."
        )


def run_optimizer(config: Config, steps: int, *, average: float | None = None) -> keras.optimizers.Optimizer:
    """Return the optimizer that the settings ask for; call it under the model's strategy.

    Args:
        config: the settings.
        steps: the steps of the whole run, which the schedule is laid over.
        average: the momentum of a moving average of the weights, or None.
    """
    schedule = WarmupDecay(config.learning_rate, round(steps * config.warmup), steps, config.schedule)
    return make_optimizer(
        config.optimizer,
        schedule,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm or None,
        average=average,
    )


def compile_with(model: Task, optimizer: keras.optimizers.Optimizer, config: Config) -> None:
    """Give a task its optimizer, with loss scaling where float16 asks for it; call it under the model's strategy."""
    if choose_precision(config.precision, model.distribute_strategy) == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, jit_compile=False)  # `Steps` says what XLA compiles
