import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tfllm.errors import ResumeMismatch
from tfllm.training.run_folder import RunFolder

IDENTITY = {"epochs": 3}


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def add(run, model, epoch, best=False):
    run.add_epoch({"epoch": epoch, "loss": 1.0}, model, {"a": np.ones(2)}, best=best)


def test_an_epoch_is_stored_and_found_again(tmp_path, model):
    run = RunFolder(tmp_path, IDENTITY, keep=1)
    for epoch in (1, 2):
        add(run, model, epoch)
    run.save((2, 4), {"a": np.ones(2)})
    again = RunFolder(tmp_path, IDENTITY)
    assert again.position == (2, 4) and [row["epoch"] for row in again.history] == [1, 2]
    assert again.checkpoints.positions() == [(2, 4)]


def test_a_history_without_its_state_is_refused(tmp_path, model):
    run = RunFolder(tmp_path, IDENTITY)
    for epoch in (1, 2):
        add(run, model, epoch)
    (tmp_path / "state-2-0.npz").unlink()
    with pytest.raises(ResumeMismatch, match=r"state-2-\*.npz.* ends with epoch 2. Received: state-1-0.npz. Put"):
        RunFolder(tmp_path, IDENTITY)
    (tmp_path / "state-1-0.npz").unlink()
    with pytest.raises(ResumeMismatch, match="Received: no state. Put the state back, use another run_dir, or remove"):
        RunFolder(tmp_path, IDENTITY)


def test_the_only_state_stays_until_the_history_has_the_next_epoch(tmp_path, model):
    RunFolder(tmp_path, IDENTITY, keep=1).save((0, 5), {"a": np.ones(2)})
    script = f"""
import os, signal, sys
sys.addaudithook(lambda event, args: event == "open" and "history.jsonl" in str(args[0]) and args[1] == "w"
                 and os.kill(os.getpid(), signal.SIGKILL))
import keras, numpy
from tfllm.training.run_folder import RunFolder
run = RunFolder({str(tmp_path)!r}, {IDENTITY!r}, keep=1)
run.add_epoch({{"epoch": 1}}, keras.Sequential([keras.Input((3,))]), {{"a": numpy.ones(2)}}, best=False)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == -9, done.stderr
    again = RunFolder(tmp_path, IDENTITY, keep=1)
    assert again.checkpoints.positions() == [(0, 5), (1, 0)] and again.position == (0, 5)


def test_a_folder_that_does_not_stay_gets_the_best_model_only(tmp_path, model):
    run = RunFolder(tmp_path, {}, lasting=False)
    add(run, model, 1)
    assert not list(tmp_path.iterdir())
    add(run, model, 2, best=True)
    assert [path.name for path in tmp_path.iterdir()] == ["best.weights.h5"] and len(run.history) == 2
    model.layers[0].kernel.assign(np.zeros((3, 2)))
    run.restore_best(model)
    assert np.any(model.layers[0].kernel.numpy())


def test_the_identity_is_written_once(tmp_path, model):
    run = RunFolder(tmp_path, {"epochs": (1, 2)})
    add(run, model, 1)
    assert json.loads((tmp_path / "run.json").read_text()) == {"epochs": [1, 2]}
    with pytest.raises(ResumeMismatch, match=r"Changed: epochs: was \[1, 2\], now 4; seed: was null, now 0"):
        RunFolder(tmp_path, {"epochs": 4, "seed": 0})
