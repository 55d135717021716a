"""Race: seconds of training until the development set is answered at 90 %.

    python benchmarks/training_to_accuracy.py DATA [--target 0.9] [--most-seconds 1200] [--sides tfllm transformers]
    python benchmarks/training_to_accuracy.py DATA --precision bfloat16 --epochs 2 --learning-rate 1e-4

DATA is the folder of SST-2. tfllm and Transformers' `Trainer`: MiniLM, all 67,349 phrases, batch size 32, AdamW, linear
warm-up (a tenth) and decay over all epochs; KerasHub's `fit` as it comes, with 512 tokens a text, its own learning rate
and one epoch. Every so many steps `dev.csv` is asked, while the clock stands still. Each side runs in a process of its
own.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from training_speed import BATCH, POLICIES, in_process, keras_hub_classifier, until


class Target:
    """Counts seconds of training alone, asks for the accuracy every so many steps, and says when it is enough."""

    def __init__(self, target: float, most_seconds: float, accuracy: Callable[[], float], every: int = 200) -> None:
        self.target, self.most_seconds, self.accuracy, self.every = target, most_seconds, accuracy, every
        self.steps, self.seconds, self.curve, self.since = 0, 0.0, [], 0.0

    def start(self) -> None:
        """Let the clock run."""
        self.since = time.perf_counter()

    def tick(self) -> bool:
        """Count a step; return whether that was the last one."""
        self.steps += 1
        if self.steps % self.every:
            return False
        self.ask()
        return self.curve[-1][2] >= self.target or self.seconds >= self.most_seconds

    def ask(self) -> None:
        """Ask for the accuracy, while the clock stands still."""
        self.seconds += time.perf_counter() - self.since
        self.curve.append((self.steps, round(self.seconds), round(self.accuracy(), 4)))
        print(*self.curve[-1], file=sys.stderr, flush=True)
        self.start()

    def result(self) -> dict:
        """Return whether the target was reached, and the curve: steps, seconds and accuracy."""
        if not self.curve or self.curve[-1][0] < self.steps:
            self.ask()
        return {"reached": self.curve[-1][2] >= self.target, "curve": self.curve}


def read_rows(folder: str, name: str):
    """Read a file of SST-2 as a table with the columns `sentence` and `label`."""
    import pandas as pd

    return pd.read_csv(Path(folder, name))


def share_of(answers: Sequence, labels: Sequence) -> float:
    """Return the share of the answers that are right."""
    return sum(answer == label for answer, label in zip(answers, labels, strict=True)) / len(labels)


def tfllm_side(arguments: argparse.Namespace) -> dict:
    import keras

    import tfllm

    keras.utils.set_random_seed(0)
    dev = read_rows(arguments.data, "dev.csv")
    texts, labels = dev["sentence"].tolist(), [str(label) for label in dev["label"]]
    data = tfllm.TextDataset(read_rows(arguments.data, "train_phrases.csv.gz"), text="sentence", label="label")
    model = tfllm.TextClassifier.from_preset("all_minilm_l6_v2_en", labels=data.labels)

    def accuracy() -> float:
        return share_of([answer.label for answer in model.predict_text(texts, batch_size=64)], labels)

    settings = {
        "epochs": arguments.epochs,
        "learning_rate": arguments.learning_rate,
        "batch_size": BATCH,
        "precision": POLICIES[arguments.precision],
        "progress": False,
    }
    target = Target(arguments.target, arguments.most_seconds, accuracy)
    until(target, lambda ticks: tfllm.fine_tune(model, data, callbacks=[ticks], **settings))
    return target.result()


def keras_hub_side(arguments: argparse.Namespace) -> dict:
    rows, dev = (read_rows(arguments.data, name) for name in ("train_phrases.csv.gz", "dev.csv"))
    rows = rows.sample(frac=1, random_state=0)
    sentences, labels = rows["sentence"].to_numpy(), rows["label"].to_numpy()
    model = keras_hub_classifier(arguments.precision)

    def accuracy() -> float:
        scores = model.predict(dev["sentence"].to_numpy(), batch_size=BATCH, verbose=0)
        return share_of(scores.argmax(axis=1).tolist(), dev["label"].tolist())

    target = Target(arguments.target, arguments.most_seconds, accuracy, every=50)
    until(target, lambda ticks: model.fit(sentences, labels, batch_size=BATCH, verbose=0, callbacks=[ticks]))
    return target.result()


SIDES = {"tfllm": tfllm_side, "keras_hub": keras_hub_side}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data")
    parser.add_argument("--target", type=float, default=0.9, help="accuracy on the development set")
    parser.add_argument("--most-seconds", type=float, default=1200.0, help="of training, after which a side is ended")
    parser.add_argument("--precision", default="float32", choices=sorted(POLICIES))
    parser.add_argument("--epochs", type=int, default=3, help="that the schedule is laid over")
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="at the end of the warm-up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--sides", nargs="+", default=["tfllm", "transformers"])
    parser.add_argument("--here", action="store_true", help="run the one side in this process")
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(SIDES[arguments.sides[0]](arguments)))
        return
    limits = ["--target", str(arguments.target), "--most-seconds", str(arguments.most_seconds)]
    rates = ["--epochs", str(arguments.epochs), "--learning-rate", str(arguments.learning_rate)]
    common = [arguments.data, *limits, *rates, "--precision", arguments.precision]
    for side in arguments.sides:
        if side == "transformers":
            found = in_process("training_to_accuracy_transformers.py", common, peers=True)
        else:
            found = in_process("training_to_accuracy.py", [*common, "--sides", side, "--here"])
        print(side, json.dumps(found), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # for both sides on TensorFlow, as tfllm sets it
    main()
