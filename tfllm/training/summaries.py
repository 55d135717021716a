"""What a run looks like from outside: TensorBoard logs, and a line about the model's size."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfllm.training.averaging import inner_optimizer

_BYTES = 4  # weights, gradients and moments are float32


class TensorBoardLog(keras.callbacks.Callback):
    """Writes loss, metrics and learning rate of each epoch for TensorBoard, training and validation as two runs.

    Args:
        folder: the folder for `tensorboard --logdir`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch."""
        values = {**(logs or {}), "learning_rate": keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)}
        for name, value in values.items():
            part = "validation" if name.startswith("val_") else "train"
            if part not in self._writers:
                self._writers[part] = tf.summary.create_file_writer(str(self.folder / part))
            with self._writers[part].as_default():
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", float(value), step=epoch + 1)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()


def size_line(model: keras.Model) -> str:
    """Return one line: how many weights there are, how many learn, and the memory that they and the optimizer take.

    Activations come on top; they grow with the tokens of a pass.

    Args:
        model: a compiled model whose optimizer is built.
    """
    weights = sum(weight.value.shape.num_elements() for weight in model.weights)
    learning = sum(weight.value.shape.num_elements() for weight in model.trainable_weights)
    kept = sum(weight.value.shape.num_elements() for weight in inner_optimizer(model.optimizer).variables)
    memory = (weights + learning + kept) * _BYTES / 1e6
    return (
        f"{weights:,} weights, {learning:,} of them learn; weights, gradients and {model.optimizer.name} "
        f"take {memory:,.0f} MB."
    )
