"""Memory and time that a BERT-large shape (24 layers, 1,024 wide, random weights) takes: written, proved and served.

    python benchmarks/serving_graph_memory.py [--precision bfloat16] [--folder models/large]

Each part runs in a process of its own, whose largest memory is printed. The proof takes some 20 GB.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from serving_graph import UNIFORM

SHAPE = {"num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "intermediate_dim": 4096}


def gigabytes(who: int = resource.RUSAGE_SELF) -> str:
    return f"{resource.getrusage(who).ru_maxrss / 1e6:.1f} GB at most"


def write(folder: Path, precision: str) -> None:
    import keras
    import keras_hub

    import tfllm
    from tfllm.exporting.forward import choose_forward
    from tfllm.exporting.saved_model import write_saved_model

    preprocessor = tfllm.TextClassifier.from_preset("all_minilm_l6_v2_en", labels=["bad", "good"]).preprocessor
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone(vocabulary_size=preprocessor.tokenizer.vocabulary_size(), **SHAPE)
    model = tfllm.TextClassifier(backbone, preprocessor, labels=["bad", "good"])
    print(f"in Keras: {model.count_params() * 4 / 1e9:.2f} GB of weights, {gigabytes()}", flush=True)
    start = time.perf_counter()
    forward = choose_forward(model, precision)
    write_saved_model(model, forward, model.signatures(pairs=False, forward=forward.graph), folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"written: {size / 1e9:.2f} GB in {time.perf_counter() - start:.0f} s, {gigabytes()}", flush=True)


def prove(folder: Path) -> None:
    from tfllm.exporting.reload import run_in_fresh_process

    start = time.perf_counter()
    run_in_fresh_process(
        folder, [("serving_default", {"text": np.array([UNIFORM.encode()] * texts, object)}) for texts in (1, 32)]
    )
    print(f"both loaders: {time.perf_counter() - start:.0f} s, {gigabytes(resource.RUSAGE_CHILDREN)}", flush=True)


def serve(folder: Path) -> None:
    from tfllm.repository import ModelVersion
    from tfllm.server.session_graph import SessionGraph, SessionThreads

    start = time.perf_counter()
    graph = SessionGraph(ModelVersion("large", 1, folder), SessionThreads(inter_op=1, intra_op=2))
    print(f"server, loaded: {time.perf_counter() - start:.0f} s, {gigabytes()}", flush=True)
    signature = graph.signatures["serving_default"]
    feeds, fetches = tuple(signature.feeds.values()), tuple(signature.fetches.values())
    for texts in (1, 1, 32, 32):
        start = time.perf_counter()
        graph.run(feeds, fetches, [np.array([UNIFORM.encode()] * texts, object)])
        print(f"server, {texts} x 17 tokens: {1e3 * (time.perf_counter() - start):.0f} ms, {gigabytes()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--folder", type=Path, help="keep the SavedModel here")
    parser.add_argument("--part", choices=["write", "prove", "serve"], help="run this part in this process")
    arguments = parser.parse_args()
    if arguments.part == "write":
        write(arguments.folder, arguments.precision)
    elif arguments.part:
        {"prove": prove, "serve": serve}[arguments.part](arguments.folder)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            given = ["--folder", str(arguments.folder or scratch), "--precision", arguments.precision]
            for part in ("write", "prove", "serve"):
                subprocess.run([sys.executable, __file__, *given, "--part", part], check=True)


if __name__ == "__main__":
    main()
