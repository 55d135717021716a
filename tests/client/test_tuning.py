"""Batching parameters for a limit of latency, on servers whose speed is known."""

import asyncio
import json
import subprocess
import sys

import pytest

from tfllm.client.load import LoadResult
from tfllm.client.tuning import tune
from tfllm.errors import ConfigError
from tfllm.server.batching_config import read_batching_file


def server(fixed, a_row, *, cores=1, most=1000):
    """Return what measures a server: a batch takes `fixed` milliseconds and `a_row` for each row."""

    async def measure(rows, threads):
        time = (fixed + a_row * rows) * max(1, threads / cores)
        failed = rows > most
        rate = 0.0 if failed else threads * rows * 1000 / time
        return LoadResult(
            loop="closed",
            load=threads,
            seconds=1.0,
            requests=0 if failed else 100,
            errors=5 if failed else 0,
            per_second=rate / rows,
            rows_per_second=rate,
            percentiles={"p99": 0.0 if failed else time},
            corrected={"p99": time},
            longest=time,
            first_error=f"Task size {rows} is larger" if failed else "",
        )

    return measure


def find(measure, limit):
    return asyncio.run(tune(measure, limit))


def test_the_largest_batch_within_the_limit():
    found = find(server(10, 1), 100)
    assert (found.max_batch_size, found.num_batch_threads) == (32, 1)  # 2 x 42 ms; 64 would be 2 x 74
    assert found.max_enqueued_batches == 1
    assert found.batch_timeout_micros == 1000
    assert find(server(10, 1), 1000).max_batch_size == 128
    assert find(server(10, 1), 1000).max_enqueued_batches == 5


def test_threads_where_cores_are_idle():
    found = find(server(10, 1, cores=2), 100)
    assert (found.max_batch_size, found.num_batch_threads) == (32, 2)


def test_a_batch_that_brings_nothing_is_not_taken():
    assert find(server(0, 10), 1000).max_batch_size == 1


def test_it_stops_where_the_server_refuses():
    found = find(server(10, 1, most=16), 1000)
    assert (found.max_batch_size, found.num_batch_threads) == (16, 1)
    assert [trial.error for trial in found.trials if trial.rows == 32] == ["Task size 32 is larger"] * 3
    assert not any(trial.rows > 32 for trial in found.trials)


def test_a_limit_that_cannot_be_kept():
    with pytest.raises(ConfigError, match="Received: 10 ms. 2 batches of 1 take 22 ms"):
        find(server(10, 1), 10)
    with pytest.raises(ConfigError, match="Task size 1 is larger"):
        find(server(10, 1, most=0), 100)


def test_the_verb(server, tmp_path):
    file = tmp_path / "new" / "batching.config"
    verb = [sys.executable, "-m", "tfllm", "bench", server.address, "--model", "echo", "--duration", "0.2"]
    verb += ["--warmup", "0", "--tune", str(file), "--json"]
    done = subprocess.run([*verb, "--latency", "5000"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    config = read_batching_file(file)
    assert config.max_batch_size == found["max_batch_size"] in [trial["rows"] for trial in found["trials"]]
    assert config.num_batch_threads == found["num_batch_threads"]
    done = subprocess.run([*verb, "--latency", "0.001"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Received: 0.001 ms" in done.stderr
