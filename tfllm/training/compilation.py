"""XLA for the forward and backward pass of a step: where it is used, and what it refuses."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.tasks.base import Task
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.training.settings import FineTuneConfig


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
    if isinstance(model.distribute_strategy, tf.distribute.TPUStrategy):
        return "a TPU, which compiles all by itself"
    return None


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
