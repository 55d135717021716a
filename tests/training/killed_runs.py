"""Trains a micro model with dropout into the folder that is named first, and dies at the step that is named second.

Of several workers, the last one dies. The environment may say more: OPTIONS are further settings as JSON, SLOW are the
seconds that writing a file takes, and with ELSEWHERE the last worker takes that folder instead.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from tfllm.data.schema import TextDataset
from tfllm.errors import Preempted
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training import checkpoints, run_folder
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.strategy import get_strategy


class DieAt(keras.callbacks.Callback):
    """Kills this process at a step, counted over all epochs."""

    def __init__(self, step, number):
        super().__init__()
        self.step, self.number, self.epoch = step, number, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch * 5 + batch + 1 == self.step:  # five steps an epoch
            os.kill(os.getpid(), self.number)


def slow(write):
    def wait_and_write(*arguments, **named):
        time.sleep(float(os.environ.get("SLOW", "0")))
        return write(*arguments, **named)

    return wait_and_write


def main(folder, step="0", number="SIGKILL"):
    tf.config.experimental.enable_op_determinism()
    strategy = get_strategy("auto")
    worker = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
    last = worker + 1 == strategy.num_replicas_in_sync
    dies = int(step) if last else 0
    folder = os.environ.get("ELSEWHERE", folder) if last else folder
    checkpoints.np.savez, run_folder._save_weights = slow(np.savez), slow(run_folder._save_weights)
    options = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-2, "checkpoint_steps": 2, "progress": False}
    options |= json.loads(os.environ.get("OPTIONS", "{}"))
    words = ["good", "bad", "film", "food", "the", "was", "great", "poor"]
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(words, size=generator.integers(1, 12))) for _ in range(37)]
    data = TextDataset(pd.DataFrame({"text": texts, "label": ["good" if "good" in t else "bad" for t in texts]}))
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"], dropout=0.3)
    try:
        fine_tune(
            model, data, validation_data=data.split(0.3)[1], run_dir=folder,
            callbacks=[DieAt(dies, getattr(signal, number))], **options,
        )  # fmt: skip
    except Preempted as stopped:
        print(stopped, "States:", sorted(path.name for path in Path(folder).glob("state-*.npz")))
        sys.exit(143)
    weights = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    np.savez(
        os.path.join(folder, f"weights-{worker}.npz"), **{str(index): value for index, value in enumerate(weights)}
    )


main(*sys.argv[1:])
