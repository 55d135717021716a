"""tfllm's side of `serving_graph.py`: exported versions, run in a session as TensorFlow Serving runs them."""

import argparse
import itertools
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
from tfllm.repository import ModelVersion, list_versions
from tfllm.server.servable import Servable
from tfllm.server.session_graph import SessionGraph, SessionThreads
from tfllm.tasks.text_classifier import TextClassifier

GRID_TEXTS, GRID_TOKENS = (1, 2, 4, 8, 16, 32, 64), (8, 16, 32, 64, 128, 256, 512)


def served(version: ModelVersion, threads: int) -> Callable[[list[str]], object]:
    servable = Servable(version, SessionGraph(version, SessionThreads(inter_op=1, intra_op=threads)))
    signature = servable.signature("")
    return lambda texts: servable.run(signature, {"text": np.array([text.encode() for text in texts], object)})


def keras_path(model: TextClassifier) -> Callable[[list[str]], object]:
    tokenizer = model.preprocessor.tokenizer
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=512)
    classifier = keras_hub.models.BertTextClassifier(model.backbone, num_classes=2, preprocessor=preprocessor)
    return lambda texts: classifier.predict(texts, batch_size=len(texts), verbose=0)


def exported(folder: Path, shape: str, precision: str) -> ModelVersion:
    """Return the exported model, which is made where it is not there."""
    path = folder / f"{shape}_{precision}"
    if versions := list_versions(path):
        return versions[-1]
    start = time.perf_counter()
    version = export(load(folder, shape), path, precision=precision, warm_up=False)
    print(f"{path.name}: {version.size / 1e6:.0f} MB, exported in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return version


def load(folder: Path, shape: str) -> TextClassifier:
    tf.keras.utils.set_random_seed(0)
    return TextClassifier.from_preset(str(folder / shape), labels=["bad", "good"], max_length=512)


def measure(
    call: Callable[[list[str]], object], name: str, work: dict, limits: tuple[int, float]
) -> dict[str, list[float]]:
    start = time.perf_counter()
    call([""])
    print(f"{name}: first answer after {time.perf_counter() - start:.1f} s", file=sys.stderr)
    found = {}
    for workload, batches in work.items():
        found[workload] = seconds_of(call, batches, *limits)
        print(f"{name:24} {workload:24} {sum(found[workload]):8.3f} s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("shape")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--precisions", nargs="+")
    parser.add_argument("--name", default="tfllm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--keras", action="store_true")
    arguments = parser.parse_args()
    limits = (arguments.repeats, arguments.seconds)
    versions = {each: exported(arguments.folder, arguments.shape, each) for each in arguments.precisions}
    work = {} if arguments.prepare else json.loads((arguments.folder / "work.json").read_text("utf-8"))
    results: dict[str, dict[str, list[float]]] = {}
    for precision, version in versions.items() if work else ():
        name, call = f"{arguments.name}, {precision}", served(version, arguments.threads)
        results[name] = measure(call, name, work, limits)
        if arguments.grid and precision == "float32":
            results["grid"] = {
                f"{texts} x {tokens}": seconds_of(call, [["film " * (tokens - 2)] * texts], arguments.repeats, 0.4)
                for texts, tokens in itertools.product(GRID_TEXTS, GRID_TOKENS)
            }
    if arguments.keras:
        few = {name: batches for name, batches in work.items() if "tokens" in name}
        call = keras_path(load(arguments.folder, arguments.shape))
        results["KerasHub, float32"] = measure(call, "KerasHub", few, (2, arguments.seconds))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
