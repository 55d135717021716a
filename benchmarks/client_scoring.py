"""A file of a million rows scored to another one: the memory that it takes, and what a kill in the middle changes.

    python benchmarks/client_scoring.py [--rows 1000000]

`tfllm predict` runs twice against the same server, a model whose label is the text itself: once without a stop, once
killed (SIGKILL) when half of the parts are done and started again with the same command. The two outputs are compared
byte by byte, and each row's label with its text. The last line is all figures as JSON.
"""

import argparse
import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

SERVER = """
import sys, time
import tensorflow as tf
from tfllm.server.server import serve

class Echo(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def __call__(self, text):
        letters = tf.cast(tf.strings.length(text), tf.float32)
        return {"label": text, "score": letters, "scores": tf.stack([letters, -letters], axis=1)}

echo = Echo()
tf.saved_model.save(echo, sys.argv[1] + "/echo/1", signatures=echo.__call__)
with serve(sys.argv[1], port=0) as server:
    print(server.address, flush=True)
    time.sleep(86400)
"""


@contextlib.contextmanager
def serving(folder):
    command = [sys.executable, "-c", SERVER, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def write_rows(path, count):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([number, f"Row {number} of a file, as long as a sentence is."] for number in range(count))


class Run:
    """One `tfllm predict`, watched.

    Args:
        address: the server's.
        source: the file of the rows.
        out: the file to write.
    """

    def __init__(self, address, source, out):
        self._parts = out.with_name(out.name + ".parts")
        command = [sys.executable, "-m", "tfllm", "predict", "--server", address, "--name", "echo", str(source)]
        self._start = time.perf_counter()
        self._process = subprocess.Popen([*command, "--out", str(out)], env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        self.memory = []

    def finish(self, kill_at=None):
        """Wait for the end, or kill it when so many parts are done; return the seconds."""
        watched = psutil.Process(self._process.pid)
        while self._process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.memory.append(watched.memory_info().rss / 1e6)
            if kill_at is not None and len(list(self._parts.glob("*.parquet"))) >= kill_at:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()
            time.sleep(0.25)
        if self._process.returncode not in (0, -signal.SIGKILL):
            raise SystemExit(f"tfllm predict ended with {self._process.returncode}.")
        return time.perf_counter() - self._start


def flatness(memory):
    """Return the most memory in each quarter of a run."""
    edges = [len(memory) * quarter // 4 for quarter in range(5)]
    return [round(max(memory[start:end], default=0)) for start, end in zip(edges, edges[1:], strict=False)]


def wrong_rows(path):
    import pyarrow.parquet as parquet

    wrong, number = 0, 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["id", "text", "label"]):
            for row in batch.to_pylist():
                wrong += row["label"] != row["text"] or row["id"] != str(number)
                number += 1
    return number, wrong


def measure(folder, count):
    source, whole, halves = folder / "rows.csv", folder / "whole.parquet", folder / "halves.parquet"
    write_rows(source, count)
    with serving(folder / "models") as address:
        uninterrupted = Run(address, source, whole)
        seconds = uninterrupted.finish()
        print(f"without a stop: {seconds:.0f} s, {count / seconds:,.0f} rows a second", flush=True)
        first = Run(address, source, halves)
        first_seconds = first.finish(kill_at=max(1, count // 20_000 // 2))
        assert not halves.exists(), "the run was over before it could be killed"
        second = Run(address, source, halves)
        second_seconds = second.finish()
    rows, wrong = wrong_rows(halves)
    return {
        "rows": rows,
        "wrong_rows": wrong,
        "equal_bytes": whole.read_bytes() == halves.read_bytes(),
        "seconds": round(seconds, 1),
        "seconds_killed_and_continued": [round(first_seconds, 1), round(second_seconds, 1)],
        "megabytes_by_quarter": flatness(uninterrupted.memory),
        "megabytes_by_quarter_continued": flatness(second.memory),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), options.rows)))


if __name__ == "__main__":
    main()
