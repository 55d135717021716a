"""Layers that compute in another way for a while."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from tfllm.tasks.base import Task

Call = Callable[..., Any]


@contextlib.contextmanager
def replaced_calls(model: Task, calls: Sequence[tuple[keras.Layer, Call]]) -> Iterator[None]:
    """Let layers of a task be called in another way while the block runs; afterwards they are called as before.

    Args:
        model: the task; its traces are forgotten at the end.
        calls: layers, each of them once, with what takes the place of their `call`.
    """
    before = [vars(layer).get("call") for layer, _ in calls]
    for layer, call in calls:
        layer.call = call
    try:
        yield
    finally:
        for (layer, _), call in zip(calls, before, strict=True):
            del layer.call  # the one of its class is there again
            if call is not None:
                layer.call = call
        model.forget_traces()
