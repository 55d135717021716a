"""Dropout of its own for each replica: `replica_draws`."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import tensorflow as tf

from tfllm.tasks.base import Task


@contextlib.contextmanager
def replica_draws(model: Task) -> Iterator[None]:
    """Let each replica of a task's strategy draw dropout of its own while the block runs.

    Keras gives all replicas the same seed, so that rows at the same place of two replicas would drop the same numbers.
    Here the replica's number is mixed into the seed (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2,
    3"). With one replica nothing changes.

    Args:
        model: the task; its traces are forgotten at the end.

    Example:
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
        >>> with replica_draws(model):
        ...     model(model.preprocess(tf.constant(["a good film"])), training=True).shape
        TensorShape([1, 2])
    """
    several = model.distribute_strategy.num_replicas_in_sync > 1
    layers = model._flatten_layers() if several else []
    generators = [layer.seed_generator for layer in layers if getattr(layer, "seed_generator", None) is not None]
    for generator in generators:
        generator.next = partial(_own_seed, generator.next)
    try:
        yield
    finally:
        for generator in generators:
            del generator.next  # the one of its class is there again
        if several:
            model.forget_traces()


def _own_seed(next_seed: Callable[..., tf.Tensor], *args: Any, **options: Any) -> tf.Tensor:
    seed = next_seed(*args, **options)
    context = tf.distribute.get_replica_context()
    if context is None:  # outside of a step
        return seed
    own = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), context.replica_id_in_sync_group)
    return tf.cast(own, seed.dtype)
