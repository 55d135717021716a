"""Race the exported graph against other runtimes: text in, probabilities out, tokenisation counted for everyone.

    python benchmarks/serving_graph.py [--texts 256] [--repeats 5] [--shapes minilm base] [--grid]
    python benchmarks/serving_graph.py --folder models --prepare       # make the models, and measure nothing
    python benchmarks/serving_graph.py --folder models --shapes minilm --work tokens sst2     # a slice of the race

One run: the same machine, texts and weights (MiniLM, and BERT-base with random weights), two threads each, one
contestant at a time. Peers take their best of: batches as they come, padded to the longest; or sorted by length and
split into parts of 8, 16 or 32. tfllm runs as TensorFlow comes, which has its oneDNN operators on where the processor
has AVX-512; `--one-dnn` races it with them on as well.
`--grid` measures 1 to 64 texts x 8 to 512 tokens and draws it.
"""

import argparse
import csv
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("TFLLM_DATA", ROOT.parent / "shared" / "data"))
OURS = ROOT / ".venv" / "bin" / "python"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
PEER_PACKAGES = ("onnx", "onnxruntime", "openvino")
Results = dict[str, dict[str, list[float]]]
"""Contestant -> workload -> seconds of each batch."""

UNIFORM = "a film that is as good as it is long and as long as it is"  # 17 tokens with the two special ones


def real_texts(count: int) -> dict[str, list[str]]:
    with (DATA / "sst2" / "test.csv").open(encoding="utf-8") as file:
        sentences = [row["sentence"] for row in csv.DictReader(file)]
    with (DATA / "counterfactual_imdb_nli" / "imdb_test.csv").open(encoding="utf-8") as file:
        reviews = [row["text"] for row in csv.DictReader(file)]
    with gzip.open(DATA / "squad" / "dev-v1.1.json.gz", "rt", encoding="utf-8") as file:
        contexts = [part["context"] for article in json.load(file)["data"] for part in article["paragraphs"]]
    sources = {"sst2": sentences, "imdb": reviews, "squad": contexts}
    return {name: texts[:: max(1, len(texts) // count)][:count] for name, texts in sources.items()}


def workloads(count: int) -> dict[str, list[list[str]]]:
    found = {"1 x 17 tokens": [[UNIFORM]], "32 x 17 tokens": [[UNIFORM] * 32]}
    for name, texts in real_texts(count).items():
        for size in (32, 64):
            found[f"{name}, batches of {size}"] = [texts[start : start + size] for start in range(0, len(texts), size)]
    found["sst2, one at a time"] = [[text] for text in real_texts(64)["sst2"]]
    return found


def run(python: Path, script: str, *arguments: str, one_dnn: bool = False) -> Results:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    environment |= {"TF_ENABLE_ONEDNN_OPTS": "1"} if one_dnn else {}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "true"}
    command = [str(python), str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.strip().splitlines()[-1])


def show(shape: str, results: Results, batches: dict[str, list[list[str]]]) -> None:
    print(f"\n### {shape}\n\nMedian milliseconds of a call; sentences a second in brackets.\n")
    print("| | " + " | ".join(batches) + " |\n|---|" + "---|" * len(batches))
    for contestant, found in results.items():
        cells = []
        for name, parts in batches.items():
            seconds = found.get(name)
            rate = None if seconds is None else sum(map(len, parts)) / sum(seconds)
            cells.append("" if seconds is None else f"{1e3 * statistics.median(seconds):.1f} ({rate:.0f})")
        print(f"| {contestant} | {' | '.join(cells)} |", flush=True)


def show_grid(grid: dict[str, list[float]], picture: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    points = {tuple(map(int, name.split(" x "))): seconds for name, (seconds,) in grid.items()}
    texts, lengths = (sorted({point[axis] for point in points}) for axis in (0, 1))
    print("\n| texts \\ tokens | " + " | ".join(map(str, lengths)) + " |\n|---|" + "---|" * len(lengths))
    for count in texts:
        print(f"| {count} | " + " | ".join(f"{1e3 * points[count, length]:.1f}" for length in lengths) + " |")
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for length in lengths:
        axes.plot(
            [count * length for count in texts],
            [1e3 * points[count, length] for count in texts],
            marker="o",
            label=f"{length} tokens",
        )
    axes.set(xscale="log", yscale="log", xlabel="tokens in the batch", ylabel="milliseconds")
    axes.legend(title="each text")
    figure.tight_layout()
    figure.savefig(picture, dpi=120)


def race(folder: str, shape: str, arguments: argparse.Namespace) -> Results:
    common = (
        folder,
        shape,
        "--repeats",
        str(arguments.repeats),
        "--seconds",
        str(arguments.seconds),
        "--precisions",
        *arguments.precisions,
    )
    run(PEERS, "serving_graph_peers.py", *common, "--prepare")
    run(OURS, "serving_graph_tfllm.py", *common, "--prepare")  # apart: the first work of a process sets its threads
    if arguments.prepare:
        return {}
    results = {} if arguments.no_peers else run(PEERS, "serving_graph_peers.py", *common)
    if arguments.one_dnn:
        forced = run(OURS, "serving_graph_tfllm.py", *common, "--name", "tfllm, oneDNN on", one_dnn=True)
        results = {**forced, **results}
    if arguments.one_thread:
        results = {
            **run(OURS, "serving_graph_tfllm.py", *common, "--threads", "1", "--name", "tfllm, one thread"),
            **results,
        }
    extra = [f"--{flag}" for flag in ("grid", "keras") if getattr(arguments, flag)]
    return {**run(OURS, "serving_graph_tfllm.py", *common, *extra), **results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=256, help="of each data set")
    parser.add_argument("--repeats", type=int, default=5, help="at most")
    parser.add_argument("--seconds", type=float, default=8.0, help="after which a workload is not repeated again")
    parser.add_argument("--shapes", nargs="+", default=["minilm", "base"], choices=["minilm", "base"])
    parser.add_argument("--precisions", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--work", nargs="+", default=[""], help="only workloads with one of these in their name")
    parser.add_argument("--folder", help="keep the models here for a further run")
    parser.add_argument("--prepare", action="store_true", help="make the models, and measure nothing")
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--keras", action="store_true", help="race KerasHub's own path too (minutes)")
    parser.add_argument("--one-dnn", action="store_true", help="race tfllm with oneDNN's operators on, too")
    parser.add_argument("--one-thread", action="store_true", help="race tfllm with one thread an operator, too")
    parser.add_argument("--no-peers", action="store_true", help="measure tfllm alone")
    arguments = parser.parse_args()
    subprocess.run([PEERS, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    every = workloads(arguments.texts)
    batches = {name: parts for name, parts in every.items() if any(word in name for word in arguments.work)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = os.path.abspath(arguments.folder or scratch)
        Path(folder).mkdir(exist_ok=True)
        Path(folder, "work.json").write_text(json.dumps(batches), "utf-8")
        for shape in arguments.shapes:
            results = race(folder, shape, arguments)
            grid = results.pop("grid", None)
            if not arguments.prepare:
                show(shape, results, batches)
            if grid:
                show_grid(grid, ROOT / "docs" / "images" / f"serving_cost_{shape}.png")


if __name__ == "__main__":
    if not PEERS.exists():
        sys.exit("Set up the peers first: python benchmarks/run.py")
    main()
