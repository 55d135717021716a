"""Which weights learn, and how fast each: freezing, gradual unfreezing, LoRA, learning rates by layer."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.tasks.base import Task

_BLOCK = re.compile(r"_layer_\d+$")


def blocks_of(backbone: keras.Model) -> list[keras.Layer]:
    """Return the transformer blocks of an encoder, the lowest first."""
    return [layer for layer in backbone.layers if _BLOCK.search(layer.name)]


def depths(model: Task) -> list[int]:
    """Return how high each trainable weight is: 0 for embeddings, 1 for the lowest block, and so on; the head is last.

    Example:
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> found = depths(TextClassifier.from_preset("micro_bert", labels=["bad", "good"]))
        >>> found[0], found[-1], max(found)
        (0, 3, 3)
    """
    blocks = blocks_of(model.backbone)
    first = model.backbone.layers.index(blocks[0])
    by_weight = {id(weight): 0 for layer in model.backbone.layers[:first] for weight in layer.weights}
    for depth, block in enumerate(blocks, start=1):
        by_weight |= {id(weight): depth for weight in block.weights}
    return [by_weight.get(id(weight), len(blocks) + 1) for weight in model.trainable_variables]


def rate_factors(model: Task, layer_decay: float) -> list[float]:
    """Return a learning-rate factor for each trainable weight: 1 for the head, less for each layer below.

    Reference:
        Howard and Ruder, 2018, "ULMFiT", section 3.2; Clark et al., 2020, "ELECTRA", appendix A.
    """
    found = depths(model)
    top = len(blocks_of(model.backbone)) + 1
    return [layer_decay ** (top - depth) for depth in found]


class GradualUnfreezing(keras.callbacks.Callback):
    """Lets the head learn alone in the first epoch, and some more blocks in each later one, the highest first.

    The embeddings come after the lowest block. Gradients are computed and clipped for all weights, so that Adam's
    moments are ready when a block begins to learn. What learns follows from the epoch alone.

    Args:
        model: the task.
        optimizer: one of `make_optimizer`, not yet built. Make both under the model's strategy.
        blocks: how many more blocks learn in each epoch.

    Reference:
        Howard and Ruder, 2018, "ULMFiT", section 3.3.
    """

    def __init__(self, model: Task, optimizer: keras.optimizers.Optimizer, blocks: int) -> None:
        super().__init__()
        self.head, self.blocks = len(blocks_of(model.backbone)) + 1, blocks
        optimizer.depths = depths(model)
        optimizer.lowest = self.lowest = tf.Variable(self.head, dtype=tf.int64, trainable=False)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Let more blocks learn."""
        self.lowest.assign(max(0, self.head - epoch * self.blocks))


@contextlib.contextmanager
def chosen_weights(model: Task, *, freeze: int | None, lora_rank: int | None) -> Iterator[None]:
    """Let only some weights of a task learn while the block runs; afterwards it is as it was, LoRA merged.

    Args:
        model: the task.
        freeze: None for no freezing; 0 freezes the embeddings, n also the n lowest blocks.
        lora_rank: the rank of the updates of the query and value products, the only ones of the encoder that learn
            then; or None.

    Raises:
        ConfigError: the encoder has not so many blocks.

    Reference:
        Hu et al., 2022, "LoRA: low-rank adaptation of large language models".
    """
    layers = model._flatten_layers()
    layer_flags = [(layer, layer.trainable) for layer in layers]
    weight_flags = [(weight, weight.trainable) for weight in model.weights]
    if freeze is not None:
        _freeze(model, freeze)
    if lora_rank is not None:
        with model.distribute_strategy.scope():
            model.backbone.enable_lora(lora_rank)
    try:
        yield
    finally:
        if lora_rank is not None:
            merge_lora(model.backbone)
        for layer, trainable in layer_flags:  # from the outside in
            layer.trainable = trainable
        for weight, trainable in weight_flags:
            weight.trainable = trainable


def _freeze(model: Task, count: int) -> None:
    blocks = blocks_of(model.backbone)
    if count > len(blocks):
        raise ConfigError(f"Expected freeze of at most {len(blocks)}, the encoder's blocks. Received: freeze={count}.")
    end = model.backbone.layers.index(blocks[0]) if count == 0 else model.backbone.layers.index(blocks[count - 1]) + 1
    for layer in model.backbone.layers[:end]:
        layer.trainable = False


def merge_lora(backbone: keras.Model) -> None:
    """Add the low-rank updates to the weights that they belong to, and take them away."""
    for layer in backbone._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            layer._kernel.assign(layer.kernel)
            layer.lora_enabled = False
            layer._untrack_variable(layer.lora_kernel_a)
            layer._untrack_variable(layer.lora_kernel_b)
            layer.lora_kernel_a = layer.lora_kernel_b = None
