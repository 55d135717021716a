"""Runs that are killed, and go on: they end as a run that nobody touched, bit for bit."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfllm.training.launching import launch

SCRIPT = Path(__file__).with_name("killed_runs.py")
KILLED, PREEMPTED = -9, 143


def start(folder, *arguments, **environment):
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    command = [sys.executable, str(SCRIPT), str(folder), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables)


def status(process):
    _, error = process.communicate(timeout=300)
    assert process.returncode in (0, KILLED, PREEMPTED), error[-3000:]
    return process.returncode


def assert_same_end(folder, whole, worker=None):
    with np.load(whole / "weights-0.npz") as want, np.load(folder / f"weights-{worker or 0}.npz") as got:
        for name in want:
            np.testing.assert_array_equal(got[name], want[name])
    histories = [(run / "history.jsonl").read_text().splitlines() for run in (folder, whole)]
    for got, want in zip(*(map(json.loads, lines) for lines in histories), strict=True):
        for row in (got, want):
            for name in (
                "seconds",
                "examples_per_second",
                "tokens_per_second",
                "padding",
            ):  # of what ran since the stop
                del row[name]
        # A restored sum is shared between the workers, so it may be rounded in another place.
        assert got == (want if worker is None else pytest.approx(want, abs=1e-6))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert status(start(folder)) == 0
    return folder


@pytest.mark.slow
def test_killed_at_ten_steps(tmp_path, whole):
    for step in sorted(random.Random(0).sample(range(1, 20), 10)):
        assert status(start(tmp_path, step)) == KILLED
    assert status(start(tmp_path)) == 0
    assert_same_end(tmp_path, whole)


@pytest.mark.slow
def test_sigterm_stores_the_step(tmp_path, whole):
    assert status(start(tmp_path, 8, "SIGTERM")) == PREEMPTED
    assert (tmp_path / "state-1-4.npz").is_file()  # the fourth step of the second epoch is after the eighth
    assert status(start(tmp_path)) == 0
    assert_same_end(tmp_path, whole)


@pytest.mark.slow
def test_one_of_two_workers_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, str(SCRIPT)]
    assert launch([*command, str(whole)], 2) == 0
    assert launch([*command, str(killed), "7"], 2) != 0
    assert not (killed / "weights-0.npz").exists()
    assert launch([*command, str(killed)], 2) == 0
    for worker in (0, 1):
        assert_same_end(killed, whole, worker)
