"""One device, several replicas, several passes: the same losses, the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("replica_runs.py")


def run(way, **environment):
    """Run one way in a process of its own, since devices are fixed at its start."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), way], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
    )


def finished(process):
    output, error = process.communicate(timeout=540)
    assert process.returncode == 0, error[-3000:]
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def one_device():
    return finished(run("one"))


@pytest.fixture
def two_workers(free_ports):
    """Start one way in two processes that work together."""

    def start(way, **environment):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
        tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
        return [run(way, TF_CONFIG=json.dumps(task), **environment) for task in tasks]

    return start


def assert_equal_runs(got, want, tolerance=1e-5, *, of_weights=True):
    np.testing.assert_allclose(got["losses"], want["losses"], rtol=0, atol=tolerance)
    if of_weights:
        np.testing.assert_allclose(got["weights"], want["weights"], rtol=0, atol=tolerance)
    for name, value in want["epoch"].items():
        assert got["epoch"][name] == pytest.approx(value, abs=tolerance), name


@pytest.mark.slow
@pytest.mark.parametrize("way", ["accumulate", "max_tokens", "mirrored", "mirrored_max_tokens", "mirrored_xla"])
def test_other_ways_on_one_machine(one_device, way):
    assert_equal_runs(finished(run(way)), one_device)


@pytest.fixture(scope="module")
def token_batches():
    return finished(run("batch_tokens"))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["batch_tokens_accumulate", "mirrored_batch_tokens"])
def test_batches_of_tokens_on_one_machine(token_batches, one_device, way):
    assert len(token_batches["losses"]) != len(one_device["losses"])
    assert_equal_runs(finished(run(way)), token_batches)


@pytest.mark.slow
def test_batches_of_tokens_on_two_workers(token_batches, two_workers):
    for process in two_workers("multi_worker_batch_tokens"):
        assert_equal_runs(finished(process), token_batches)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_two_workers(one_device, devices, two_workers):
    for process in two_workers("multi_worker", DEVICES=str(devices)):
        assert_equal_runs(finished(process), one_device)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["options", "lora"])
def test_optimizers_averages_and_lora_on_two_devices(options):
    one, two = run(options), run(f"mirrored_{options}")
    assert_equal_runs(finished(two), finished(one))


@pytest.mark.slow
def test_half_precision_on_two_devices(one_device):
    one, two = run("mixed"), run("mirrored_mixed")
    want = finished(one)
    assert want["losses"] != one_device["losses"]
    assert_equal_runs(finished(two), want, tolerance=2e-2)  # bfloat16 has eight bits


@pytest.mark.slow
def test_optimizers_and_averages_on_two_workers(two_workers):
    one = run("options")
    processes = two_workers("multi_worker_options")
    want = finished(one)
    for process in processes:
        assert_equal_runs(finished(process), want)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["entities", "answers"])
def test_tasks_on_tokens_on_two_devices(task):
    one, two = run(task), run(f"mirrored_{task}")
    # Weights whose gradient is zero but for rounding move by whole steps of Adam.
    assert_equal_runs(finished(two), finished(one), of_weights=False)
