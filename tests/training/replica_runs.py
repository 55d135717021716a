"""Trains a micro model in the way that the first argument names, and prints losses, weights and metrics as JSON."""

import json
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from exact_runs import StepLosses, without_dropout

from tfllm.data.schema import TextDataset
from tfllm.tasks.question_answerer import QuestionAnswerer
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.tasks.token_classifier import TokenClassifier
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.strategy import get_strategy

OPTIONS = {"optimizer": "lamb", "schedule": "cosine", "layer_decay": 0.7, "ema": 0.8, "freeze": 0, "unfreeze": 2}
TOKENS = {"batch_tokens": 60}
WAYS = {
    "one": {},
    "accumulate": {"accumulate": 3},
    "max_tokens": {"max_tokens": 20},
    "batch_tokens": TOKENS,
    "batch_tokens_accumulate": {"accumulate": 2, "max_tokens": 20, "recompute": True, **TOKENS},
    "mirrored": {},
    "mirrored_batch_tokens": {"accumulate": 2, "recompute": True, **TOKENS},
    "mirrored_max_tokens": {"max_tokens": 20},
    "multi_worker": {},
    "multi_worker_batch_tokens": TOKENS,
    "options": OPTIONS,
    "mirrored_options": {"max_tokens": 20, **OPTIONS},
    "multi_worker_options": {"accumulate": 2, **OPTIONS},
    "mixed": {"precision": "mixed_bfloat16"},
    "mirrored_mixed": {"precision": "mixed_bfloat16"},
    "mirrored_xla": {"jit_compile": "on"},
    "lora": {"lora_rank": 2},
    "mirrored_lora": {"lora_rank": 2},
    "entities": {},
    "mirrored_entities": {"max_tokens": 20},
    "answers": {},
    "mirrored_answers": {"max_tokens": 20},
}


def classes(texts):
    data = TextDataset(pd.DataFrame({"text": texts, "label": ["good" if "good" in t else "bad" for t in texts]}))
    return data, lambda: TextClassifier.from_preset("micro_bert", labels=["bad", "good"], dropout=0.0)


def entities(texts):
    spans = [[(at, at + 4, "thing") for at in (text.find("film"),) if at >= 0] for text in texts]
    data = TextDataset(pd.DataFrame({"text": texts, "label": spans}), label_kind="entities")
    return data, lambda: TokenClassifier.from_preset("micro_bert", labels=["thing"])


def answers(texts):
    rows = {"text": ["what was it?"] * len(texts), "context": texts, "label": [[(0, t.find(" ") % 6)] for t in texts]}
    data = TextDataset(pd.DataFrame(rows), text_pair="context", label_kind="answers")
    return data, lambda: QuestionAnswerer.from_preset("micro_bert")


TASKS = {"entities": entities, "answers": answers}


def main(way):
    devices = int(os.environ.get("DEVICES", "2" if way.startswith("mirrored") else "1"))
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    strategy = get_strategy(next((name for name in ("mirrored", "multi_worker") if way.startswith(name)), "one"))
    words = ["good", "bad", "film", "food", "the", "was", "great", "poor"]
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(words, size=generator.integers(1, 12))) for _ in range(21)]
    data, make = TASKS.get(way.rpartition("_")[-1], classes)(texts)
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = without_dropout(make())
    steps = StepLosses()
    history = fine_tune(
        model, data, validation_data=data.split(0.3)[1], epochs=2, batch_size=8, learning_rate=1e-2, progress=False,
        callbacks=[steps], **WAYS[way],
    )  # fmt: skip
    weights = np.concatenate([keras.ops.convert_to_numpy(v).ravel() for v in model.trainable_variables])
    epoch = {name: history.epochs[-1][name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
    print(json.dumps({"losses": steps.losses, "weights": weights.tolist(), "epoch": epoch}))


main(sys.argv[1])
