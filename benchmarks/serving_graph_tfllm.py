"""tfllm's side of `serving_graph.py`: exported versions, run in a session as TensorFlow Serving runs them."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras_hub
import numpy as np
import tensorflow as tf
from serving_graph_clock import seconds_of

from tfllm.exporting.saved_model import export
from tfllm.repository import ModelVersion
from tfllm.server.servable import Servable, SessionThreads
from tfllm.tasks.text_classifier import TextClassifier

GRID_TEXTS, GRID_TOKENS = (1, 2, 4, 8, 16, 32, 64), (8, 16, 32, 64, 128, 256, 512)


def served(version: ModelVersion) -> Callable[[list[str]], object]:
    servable = Servable(version, SessionThreads(inter_op=1, intra_op=2))
    signature = servable.signature("")
    return lambda texts: servable.run(signature, {"text": np.array([text.encode() for text in texts], object)})


def keras_path(model: TextClassifier) -> Callable[[list[str]], object]:
    tokenizer = model.preprocessor.tokenizer
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=512)
    classifier = keras_hub.models.BertTextClassifier(model.backbone, num_classes=2, preprocessor=preprocessor)
    return lambda texts: classifier.predict(texts, batch_size=len(texts), verbose=0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("shape")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--keras", action="store_true")
    arguments = parser.parse_args()
    tf.keras.utils.set_random_seed(0)
    preset = str(arguments.folder / arguments.shape)
    model = TextClassifier.from_preset(preset, labels=["bad", "good"], max_length=512)
    work = json.loads((arguments.folder / "work.json").read_text("utf-8"))
    results: dict[str, dict[str, float]] = {}
    for precision in ("float32", "bfloat16"):
        start = time.perf_counter()
        version = export(model, arguments.folder / precision, precision=precision, warm_up=False, tolerance=0.05)
        exported = time.perf_counter()
        call = served(version)
        call([""])
        print(
            f"tfllm, {precision}: exported in {exported - start:.1f} s, loaded and first answer in "
            f"{time.perf_counter() - exported:.1f} s, {version.size / 1e6:.0f} MB",
            file=sys.stderr,
        )
        results[f"tfllm, {precision}"] = {
            name: seconds_of(call, batches, arguments.repeats) for name, batches in work.items()
        }
        if arguments.grid and precision == "float32":
            results["grid"] = {
                f"{texts} x {tokens}": seconds_of(call, [["film " * (tokens - 2)] * texts], arguments.repeats)
                for texts in GRID_TEXTS
                for tokens in GRID_TOKENS
            }
    if arguments.keras:
        call = keras_path(model)
        few = {name: batches for name, batches in work.items() if "tokens" in name}
        results["KerasHub, float32"] = {name: seconds_of(call, batches, 2) for name, batches in few.items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
