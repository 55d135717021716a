"""What an exported model takes and gives, as data: the `Signature`."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from tfllm.tasks.preprocessing import Tokens

Outputs = dict[str, tf.Tensor]
Forward = Callable[[Tokens], tf.Tensor]
"""A forward pass: token tensors `(batch, sequence)` -> head outputs."""


@dataclass(frozen=True)
class Signature:
    """One signature of a task: what an exported model takes and gives.

    Attributes:
        inputs: input name -> spec; the first dimension is the batch.
        outputs: output name -> spec; the first dimension is the batch.
        function: the TensorFlow function, called with the inputs by name.
    """

    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]
    function: Callable[..., Outputs]
