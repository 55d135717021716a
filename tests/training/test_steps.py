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


def assert_equal_runs(got, want, tolerance=1e-5):
    np.testing.assert_allclose(got["losses"], want["losses"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(got["weights"], want["weights"], rtol=0, atol=tolerance)
    for name, value in want["epoch"].items():
        assert got["epoch"][name] == pytest.approx(value, abs=tolerance), name


@pytest.mark.slow
@pytest.mark.parametrize("way", ["accumulate", "max_tokens", "mirrored", "mirrored_max_tokens"])
def test_other_ways_on_one_machine(one_device, way):
    assert_equal_runs(finished(run(way)), one_device)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_two_workers(one_device, devices, free_ports):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    configs = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(2)]
    processes = [run("multi_worker", TF_CONFIG=json.dumps(c), DEVICES=str(devices)) for c in configs]
    for process in processes:
        assert_equal_runs(finished(process), one_device)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["options", "lora"])
def test_optimizers_averages_and_lora_on_two_devices(options):
    one, two = run(options), run(f"mirrored_{options}")
    assert_equal_runs(finished(two), finished(one))


@pytest.mark.slow
def test_optimizers_and_averages_on_two_workers(free_ports):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    configs = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(2)]
    one = run("options")
    processes = [run("multi_worker_options", TF_CONFIG=json.dumps(config)) for config in configs]
    want = finished(one)
    for process in processes:
        assert_equal_runs(finished(process), want)
