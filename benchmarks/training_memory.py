"""Does memory stay flat, over three epochs of SST-2 and a corpus larger than memory? What does recomputation save?

    python benchmarks/training_memory.py rows DATA [--epochs 3] [--batch-size 256]
    python benchmarks/training_memory.py corpus [--megabytes 800] [--allowed 500]
    python benchmarks/training_memory.py recompute [--rows 16] [--length 512]

DATA is the folder of SST-2 (`train_phrases.csv.gz`, 67,349 rows). `rows` prints the resident memory of a micro BERT's
training by tenth of the run. `corpus` makes a folder of random words, allows its own process so many megabytes more
than TensorFlow holds once it has trained on a small corpus (`RLIMIT_DATA`), and pre-trains on the whole of it; a list
of the same texts is then tried within the same limit, and has to fail. `recompute` trains three steps on long texts,
with and without `recompute=True`, each in a process of its own. Linux only.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd

import tfllm

_FILE_MEGABYTES = 20
_SMALL = {"epochs": 1, "steps_per_epoch": 4, "batch_size": 16}


def memory(kind: str) -> float:
    """Return a line of this process's status in megabytes, such as VmRSS."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024


class Memory(keras.callbacks.Callback):
    """Notes the resident memory after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.resident: list[float] = []

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.resident.append(memory("VmRSS"))


def rows(arguments: argparse.Namespace) -> None:
    frame = pd.read_csv(arguments.data / "train_phrases.csv.gz")
    data = tfllm.TextDataset(frame, text="sentence", label="label")
    model = tfllm.TextClassifier.from_preset("micro_bert", labels=data.labels)
    noted = Memory()
    tfllm.fine_tune(model, data, epochs=arguments.epochs, batch_size=arguments.batch_size, callbacks=[noted])
    tenths = [round(float(np.median(part))) for part in np.array_split(noted.resident, 10)]
    print(json.dumps({"rows": len(frame), "epochs": arguments.epochs, "resident_mb_by_tenth": tenths}))


def write_corpus(folder: Path, megabytes: int) -> list[str]:
    """Write files of random words, and return the words."""
    generator = np.random.default_rng(0)
    words = ["".join(generator.choice(list("abcdefghij"), 4)) for _ in range(500)]
    for number in range(-(-megabytes // _FILE_MEGABYTES)):
        drawn = np.char.add(generator.choice(words, _FILE_MEGABYTES * 200_000), " ").reshape(-1, 100)
        (folder / f"{number:03}.txt").write_text("\n\n".join("".join(line) for line in drawn))
    return words


def corpus(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder, "texts")
        texts.mkdir()
        words = write_corpus(texts, arguments.megabytes)
        vocabulary = Path(folder, "vocab.txt")
        tfllm.train_vocabulary([" ".join(words)], vocabulary, vocabulary_size=600)
        model = tfllm.MaskedLM.from_scratch(vocabulary, layers=1, width=32, heads=2, max_length=64)
        tfllm.pretrain(model, [" ".join(words)] * 20, progress=False, **_SMALL)
        limit = int((memory("VmData") + arguments.allowed) * 1024**2)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        before = memory("VmRSS")
        tfllm.pretrain(model, texts, run_dir=Path(folder, "run"), **_SMALL)
        size = sum(file.stat().st_size for file in texts.iterdir()) / 1024**2
        print(json.dumps({"corpus_mb": round(size), "resident_growth_mb": round(memory("VmRSS") - before)}))
        try:
            held = [file.read_text() for file in sorted(texts.iterdir())]
            print(json.dumps({"a_list_of_the_texts": f"fits, {len(held)} files"}))
        except MemoryError:
            print(json.dumps({"a_list_of_the_texts": "does not fit"}))


def recompute(arguments: argparse.Namespace) -> None:
    if arguments.one is None:
        for choice in ("no", "yes"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--one", choice], check=True)
        return
    words, generator = ["good", "bad", "film", "food", "the", "was"], np.random.default_rng(0)
    texts = [" ".join(generator.choice(words, size=arguments.length)) for _ in range(3 * arguments.rows)]
    data = tfllm.TextDataset(pd.DataFrame({"text": texts, "label": generator.choice(["a", "b"], len(texts))}))
    model = tfllm.TextClassifier.from_preset("all_minilm_l6_v2_en", labels=["a", "b"], max_length=arguments.length)
    before, again = memory("VmHWM"), arguments.one == "yes"
    history = tfllm.fine_tune(model, data, epochs=1, batch_size=arguments.rows, recompute=again, progress=False)
    grown = round(memory("VmHWM") - before)
    print(json.dumps({"recompute": again, "peak_growth_mb": grown, "seconds": history.epochs[0]["seconds"]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("rows")
    part.add_argument("data", type=Path)
    part.add_argument("--epochs", type=int, default=3)
    part.add_argument("--batch-size", type=int, default=256)
    part.set_defaults(run=rows)
    part = parts.add_parser("corpus")
    part.add_argument("--megabytes", type=int, default=800)
    part.add_argument("--allowed", type=int, default=500)
    part.set_defaults(run=corpus)
    part = parts.add_parser("recompute")
    part.add_argument("--rows", type=int, default=16)
    part.add_argument("--length", type=int, default=512)
    part.add_argument("--one", choices=["no", "yes"], help=argparse.SUPPRESS)
    part.set_defaults(run=recompute)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
