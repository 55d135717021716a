"""Race: two workers of one core each against one worker on one core, the same steps of the same rows.

    python benchmarks/training_workers.py DATA [--steps 24] [--rows 256]

DATA is the folder of SST-2 (`train_phrases.csv.gz`). MiniLM, float32, AdamW, `--rows` rows a step over all workers.
Both runs take the same steps with the same result; what counts is the time of a step once the first are over. Linux
only: the cores are fixed by `taskset`.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SKIPPED = 8


def worker(data: str, steps: int, rows: int) -> None:
    import keras
    import pandas as pd

    import tfllm

    frame = pd.read_csv(Path(data, "train_phrases.csv.gz")).sample(steps * rows, random_state=0)
    times = []

    class Times(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            times.append(time.perf_counter())

    dataset = tfllm.TextDataset(frame.reset_index(drop=True), text="sentence", label="label")
    with tfllm.get_strategy("auto").scope():
        model = tfllm.TextClassifier.from_preset("all_minilm_l6_v2_en", labels=dataset.labels)
    tfllm.fine_tune(model, dataset, epochs=1, batch_size=rows, progress=False, callbacks=[Times()])
    measured = len(times) - 1 - _SKIPPED
    print(json.dumps({"examples_per_second": round(measured * rows / (times[-1] - times[_SKIPPED]), 1)}))


def run(arguments: list[str], workers: int) -> dict[str, float]:
    """Run so many workers, each on a core of its own; return the first one's result."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(workers)]
    processes = []
    for index in range(workers):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KERAS_BACKEND": "tensorflow",
            "TF_ENABLE_ONEDNN_OPTS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        if workers > 1:
            task = {"type": "worker", "index": index}
            environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        command = ["taskset", "-c", str(index), sys.executable, __file__, *arguments, "--here"]
        processes.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        )
    outputs = [process.communicate() for process in processes]
    for process, (_, error) in zip(processes, outputs, strict=True):
        if process.returncode:
            sys.exit(error[-3000:])
    return json.loads(outputs[0][0].splitlines()[-1])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rows", type=int, default=256, help="rows of a step, over all workers")
    parser.add_argument("--here", action="store_true", help="be a worker")
    arguments = parser.parse_args()
    if arguments.here:
        worker(arguments.data, arguments.steps, arguments.rows)
        return
    results = {}
    for workers in (1, 2):
        results[workers] = run(sys.argv[1:], workers)["examples_per_second"]
        print(f"{workers} worker(s): {results[workers]} examples/s", flush=True)
    print(f"ratio: {results[2] / results[1]:.2f}")


if __name__ == "__main__":
    main()
