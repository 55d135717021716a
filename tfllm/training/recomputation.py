"""Less memory for long texts: the blocks of an encoder are computed again for their gradients."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfllm.tasks.base import Task
from tfllm.training.layer_calls import replaced_calls
from tfllm.training.trainable import blocks_of


@contextlib.contextmanager
def recomputed_blocks(model: Task) -> Iterator[None]:
    """Let a task keep only what goes into each block while it trains, and compute the block again for its gradients.

    The numbers stay the same, dropout's draws included. TensorFlow keeps the gradient of each graph, and the weights of
    its blocks with it, as long as the process lives.

    Args:
        model: the task.

    Reference:
        Chen et al., 2016, "Training deep nets with sublinear memory cost", section 3.

    Example:
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
        >>> with recomputed_blocks(model):
        ...     model(model.preprocess(tf.constant(["a good film"])), training=True).shape
        TensorShape([1, 2])
    """
    with replaced_calls(model, [(block, _Recomputed(block)) for block in blocks_of(model.backbone)]):
        yield


class _Recomputed:
    """A block's `call` that keeps nothing but its inputs."""

    def __init__(self, block: keras.Layer) -> None:
        self.block, self.call, self.inside = block, block.call, False
        layers = block._flatten_layers()
        self.generators = [layer.seed_generator for layer in layers if getattr(layer, "seed_generator", None)]

    def __call__(self, *args: Any, **options: Any) -> Any:
        # Not all blocks take `training`; Keras tells the layers within.
        training = self.block._get_call_context().get_value("training")
        if self.inside or not training:
            return self.call(*args, **options)
        options.pop("training", None)
        seeds = [generator.next() for generator in self.generators]
        structure = (args, options)
        flat = tf.nest.flatten(structure)
        # What is watched must be floating; masks are captured.
        places = [place for place, value in enumerate(flat) if tf.is_tensor(value) and value.dtype.is_floating]

        @tf.recompute_grad
        def run(*tensors: tf.Tensor) -> tf.Tensor:
            values = [*flat]
            for place, tensor in zip(places, tensors, strict=True):
                values[place] = tensor
            again, same = tf.nest.pack_sequence_as(structure, values)
            with self._drawing(seeds):
                return self.block(*again, training=True, **same)  # whole, so that Keras's context is there again

        return run(*(flat[place] for place in places))

    @contextlib.contextmanager
    def _drawing(self, seeds: list[tf.Tensor]) -> Iterator[None]:
        self.inside = True
        before = [vars(generator).get("next") for generator in self.generators]
        for generator, seed in zip(self.generators, seeds, strict=True):
            generator.next = _always(seed)
        try:
            yield
        finally:
            self.inside = False
            for generator, draw in zip(self.generators, before, strict=True):
                del generator.next  # the one of its class is there again
                if draw is not None:
                    generator.next = draw


def _always(seed: tf.Tensor) -> Callable[..., tf.Tensor]:
    return lambda ordered=True: seed
