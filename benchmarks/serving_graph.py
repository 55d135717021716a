"""Race the exported graph against other runtimes: text in, probabilities out, tokenisation counted for everyone.

    python benchmarks/serving_graph.py [--texts 256] [--repeats 5] [--shapes minilm base] [--grid]

One run: the same machine, texts and weights (MiniLM, and BERT-base with random weights), two threads each, one
contestant at a time. Peers take their best of: batches as they come, padded to the longest; or sorted by length and
split into parts of 8 or 16. `--grid` measures 1 to 64 texts x 8 to 512 tokens and draws it.
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("TFLLM_DATA", ROOT.parent / "shared" / "data"))
OURS = ROOT / ".venv" / "bin" / "python"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
PEER_PACKAGES = ("onnx", "onnxruntime", "openvino")
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


def run(python: Path, script: str, *arguments: str) -> dict[str, dict[str, float]]:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "true"}
    command = [str(python), str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.strip().splitlines()[-1])


def show(shape: str, results: dict[str, dict[str, float]], batches: dict[str, list[list[str]]]) -> None:
    print(f"\n### {shape}\n\nMedian milliseconds of a call; sentences a second in brackets.\n")
    print("| | " + " | ".join(batches) + " |\n|---|" + "---|" * len(batches))
    for contestant, found in results.items():
        cells = []
        for name, parts in batches.items():
            rows = sum(map(len, parts))
            seconds = found.get(name)
            cells.append("" if seconds is None else f"{1e3 * seconds / len(parts):.1f} ({rows / seconds:.0f})")
        print(f"| {contestant} | {' | '.join(cells)} |", flush=True)


def show_grid(grid: dict[str, float], picture: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    points = {tuple(map(int, name.split(" x "))): seconds for name, seconds in grid.items()}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=256, help="of each data set")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shapes", nargs="+", default=["minilm", "base"], choices=["minilm", "base"])
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--keras", action="store_true", help="race KerasHub's own path too (minutes)")
    arguments = parser.parse_args()
    subprocess.run([PEERS, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    batches = workloads(arguments.texts)
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "work.json").write_text(json.dumps(batches), "utf-8")
        for shape in arguments.shapes:
            common = (scratch, shape, "--repeats", str(arguments.repeats))
            peers = run(PEERS, "serving_graph_peers.py", *common)
            extra = [flag for flag in ("grid", "keras") if getattr(arguments, flag)]
            ours = run(OURS, "serving_graph_tfllm.py", *common, *(f"--{flag}" for flag in extra))
            grid = ours.pop("grid", None)
            show(shape, {**ours, **peers}, batches)
            if grid:
                show_grid(grid, ROOT / "docs" / "images" / f"serving_cost_{shape}.png")


if __name__ == "__main__":
    if not PEERS.exists():
        sys.exit("Set up the peers first: python benchmarks/run.py")
    main()
