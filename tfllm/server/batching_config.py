"""How requests are put together into batches: TensorFlow Serving's parameters, and a budget of tokens."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfllm.errors import ConfigError
from tfllm.server.text_protos import read_text_proto

PER_MODEL_FILE = "batching_params.pbtxt"
"""A version's own parameters, relative to its folder."""


@dataclass(frozen=True)
class BatchingConfig:
    """When a batch is run, and what may be in it. The names and defaults are TensorFlow Serving's.

    Attributes:
        max_batch_size: the most rows of one request, and of a batch unless `max_execution_batch_size` says otherwise.
        batch_timeout_micros: how long a request waits for others, in microseconds; with 0 a batch has what is there.
        max_enqueued_batches: how many full batches may wait for each model; a request beyond that is refused.
        num_batch_threads: how many batches run at once, of all models together; 0 for one a core.
        thread_pool_name: a name for metrics.
        allowed_batch_sizes: the sizes that a batch is filled up to, with copies of a row; none for any size.
        pad_variable_length_inputs: whether rows of different lengths may share a batch, padded with their first value.
        enable_large_batch_splitting: whether a request may be spread over several batches.
        max_execution_batch_size: the most rows of a batch, where requests are spread; 0 for `max_batch_size`.
        token_budget: the most tokens of a batch, padding included; 0 for batches by rows alone.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 0
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0
    token_budget: int = 0

    @property
    def rows_at_once(self) -> int:
        """The most rows of a batch."""
        return (self.enable_large_batch_splitting and self.max_execution_batch_size) or self.max_batch_size

    @property
    def threads(self) -> int:
        """The number of batch threads."""
        return self.num_batch_threads or os.cpu_count() or 1


def read_batching_file(path: str | os.PathLike[str], token_budget: int = 0) -> BatchingConfig:
    """Read a `--batching_parameters_file`.

    Raises:
        ConfigError: the file cannot be read, or its values cannot be right together.
    """
    message = read_text_proto(path, "BatchingParameters")
    values: dict[str, Any] = {"token_budget": token_budget}
    for field, value in message.ListFields():
        if field.name == "allowed_batch_sizes":
            values[field.name] = tuple(value)
        else:
            values[field.name] = value.value if hasattr(value, "value") else value
    config = BatchingConfig(**values)
    _check(config, path)
    return config


def own_batching(config: BatchingConfig, folder: Path) -> BatchingConfig:
    """Return the parameters of a version: its own file's if it has one; threads are those of the server.

    Raises:
        ConfigError: as `read_batching_file`.
    """
    file = folder / PER_MODEL_FILE
    if not file.exists():
        return config
    own = read_batching_file(file, config.token_budget)
    return replace(own, num_batch_threads=config.num_batch_threads, thread_pool_name=config.thread_pool_name)


def _check(config: BatchingConfig, path: str | os.PathLike[str]) -> None:
    for name in ("max_batch_size", "max_enqueued_batches"):
        if getattr(config, name) < 1:
            raise ConfigError(f"Expected {name} of at least 1. Received: {getattr(config, name)} in '{path}'.")
    for name in ("batch_timeout_micros", "num_batch_threads", "max_execution_batch_size"):
        if getattr(config, name) < 0:
            raise ConfigError(f"Expected {name} of at least 0. Received: {getattr(config, name)} in '{path}'.")
    if config.max_execution_batch_size > config.max_batch_size:
        raise ConfigError(
            f"Expected a max_execution_batch_size of at most max_batch_size {config.max_batch_size}. "
            f"Received: {config.max_execution_batch_size} in '{path}'."
        )
    sizes = config.allowed_batch_sizes
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != config.rows_at_once):
        raise ConfigError(
            f"Expected allowed_batch_sizes that grow and end with the most rows of a batch, {config.rows_at_once}. "
            f"Received: {list(sizes)} in '{path}'."
        )
