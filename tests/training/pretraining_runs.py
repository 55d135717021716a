"""Pre-trains a micro model in the folder that is named first, and dies at the step that is named second."""

import json
import os
import signal
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tfllm.data.vocabulary import train_vocabulary
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.training.pretraining import pretrain

WORDS = ["good", "bad", "film", "food", "the", "was", "great", "poor"]
STEPS_AN_EPOCH = 5


class DieAt(keras.callbacks.Callback):
    """Kills this process at a step, counted over all epochs."""

    def __init__(self, step):
        super().__init__()
        self.step, self.epoch = step, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch * STEPS_AN_EPOCH + batch + 1 == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder, step="0"):
    tf.config.experimental.enable_op_determinism()
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, size=generator.integers(1, 40))) for _ in range(60)]
    keras.utils.set_random_seed(0)
    model = MaskedLM.from_scratch(
        train_vocabulary(texts, vocabulary_size=200), layers=2, width=8, heads=2, max_length=16
    )
    history = pretrain(
        model, texts, run_dir=folder, epochs=4, steps_per_epoch=STEPS_AN_EPOCH, batch_size=7, learning_rate=1e-2,
        validation_fraction=0.2, checkpoint_steps=2, progress=False, callbacks=[DieAt(int(step))],
    )  # fmt: skip
    weights = np.concatenate([keras.ops.convert_to_numpy(v).ravel() for v in model.trainable_variables])
    np.save(os.path.join(folder, "weights.npy"), weights)
    epochs = [{name: row[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")} for row in history.epochs]
    print(json.dumps({"epochs": epochs}))


main(*sys.argv[1:])
