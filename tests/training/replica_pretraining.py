"""Pre-trains a micro model on so many devices, in so many passes a step, and prints losses and weights as JSON."""

import json
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tfllm.data.vocabulary import train_vocabulary
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.training.pretraining import pretrain
from tfllm.training.strategy import get_strategy

WORDS = ["good", "bad", "film", "food", "the", "was", "great", "poor"]


def main(devices, accumulate):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, size=generator.integers(1, 40))) for _ in range(60)]
    vocabulary = train_vocabulary(texts, vocabulary_size=200)
    with get_strategy("mirrored" if devices > 1 else "one").scope():
        keras.utils.set_random_seed(0)
        model = MaskedLM.from_scratch(
            vocabulary, layers=2, width=8, heads=2, max_length=16, dropout=0.0,
            sentence_head="next",
        )  # fmt: skip
    history = pretrain(
        model, texts, epochs=2, steps_per_epoch=6, batch_size=7, learning_rate=1e-2, validation_fraction=0.2,
        accumulate=accumulate, progress=False,
    )  # fmt: skip
    weights = np.concatenate([keras.ops.convert_to_numpy(v).ravel() for v in model.trainable_variables])
    losses = [row[name] for row in history.epochs for name in ("loss", "val_loss")]
    print(json.dumps({"losses": losses, "weights": weights.tolist()}))


main(int(sys.argv[1]), int(sys.argv[2]))
