"""Runs that are killed, and go on: they end as a run that nobody touched, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest

from tfllm.errors import Preempted
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.fine_tuning import fine_tune
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
def test_killed_between_calls_of_several_steps(tmp_path, whole):
    several = '{"steps_per_execution": 3, "checkpoint_steps": 4}'
    assert status(start(tmp_path, 5, OPTIONS=several)) == KILLED  # the state is that of the fourth step
    assert status(start(tmp_path, 13, OPTIONS=several)) == KILLED
    assert status(start(tmp_path, 17, "SIGTERM", OPTIONS='{"steps_per_execution": 3}')) == PREEMPTED
    assert (tmp_path / "state-3-4.npz").is_file()  # of the second call of the epoch, which ends where a state is due
    assert status(start(tmp_path)) == 0
    assert_same_end(tmp_path, whole)


def make_model():
    keras.utils.set_random_seed(0)
    return TextClassifier.from_preset("micro_bert", labels=["bad", "good"])


class TerminateIn(keras.callbacks.Callback):
    """Sends SIGTERM when the validation of an epoch has begun, and counts its batches."""

    def __init__(self, epoch):
        super().__init__()
        self.terminated, self.epoch, self.batches = epoch, 0, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.batches = epoch, 0

    def on_test_begin(self, logs=None):
        if self.epoch == self.terminated:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_test_batch_end(self, batch, logs=None):
        self.batches += 1


def test_sigterm_ends_a_validation(tmp_path, reviews):
    settings = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-2, "ema": 0.5, "progress": False}

    def train(model, **further):
        return fine_tune(model, reviews, validation_data=reviews, **settings, **further)

    for epoch in (0, 1):
        terminate = TerminateIn(epoch)
        with pytest.raises(Preempted, match=f"after the last step of epoch {epoch + 1}; the same call goes on"):
            train(make_model(), run_dir=tmp_path, callbacks=[terminate])
        assert terminate.batches == 1 and (tmp_path / f"state-{epoch}-4.npz").is_file()
    resumed, whole = make_model(), make_model()
    again, once = train(resumed, run_dir=tmp_path), train(whole)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert [row[name] for row in again.epochs] == pytest.approx([row[name] for row in once.epochs], abs=1e-6)
    for got, want in zip(resumed.variables, whole.variables, strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-6)


def test_without_a_run_dir_sigterm_is_left_alone_and_no_state_is_written(tmp_path, reviews, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, handlers, files = signal.getsignal(signal.SIGTERM), set(), set()

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            handlers.add(signal.getsignal(signal.SIGTERM))
            files.update(path.name for path in tmp_path.rglob("*") if path.is_file())

    history = fine_tune(
        make_model(), reviews, validation_data=reviews, epochs=3, batch_size=8, restore_best=True, progress=False,
        checkpoint_steps=1, callbacks=[Note()],
    )  # fmt: skip
    assert handlers == {before} and files == {"best.weights.h5"} and len(history.epochs) == 3
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def command():
    """What `launch` runs, with the path to import from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        yield [sys.executable, str(SCRIPT)]


@pytest.fixture(scope="module")
def whole_of_two(tmp_path_factory, command):
    folder = tmp_path_factory.mktemp("whole_of_two")
    assert launch([*command, str(folder)], 2) == 0
    return folder


@pytest.mark.slow
def test_one_of_two_workers_is_killed(tmp_path, command, whole_of_two):
    assert launch([*command, str(tmp_path), "7"], 2) != 0
    assert not (tmp_path / "weights-0.npz").exists()
    assert launch([*command, str(tmp_path)], 2) == 0
    for worker in (0, 1):
        assert_same_end(tmp_path, whole_of_two, worker)


@pytest.mark.slow
def test_one_of_two_workers_gets_sigterm(tmp_path, command, whole_of_two, monkeypatch, capfd):
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    with monkeypatch.context() as patch:
        patch.setenv("SLOW", "3")  # the other worker must not leave before the file is there
        patch.setenv("OPTIONS", '{"checkpoint_steps": null}')
        assert launch([*command, str(folder), "8", "SIGTERM"], 2) == PREEMPTED
    said = capfd.readouterr().out
    assert said.count("the same call goes on from there. States: ['state-1-0.npz', 'state-1-5.npz']") == 2

    with monkeypatch.context() as patch:
        patch.setenv("ELSEWHERE", str(elsewhere))
        assert launch([*command, str(folder)], 2) == 1
    words = "Received: worker 0: 1 epochs and 5 steps; worker 1: 0 epochs and 0 steps. run_dir has to be one folder"
    assert words in capfd.readouterr().err

    assert launch([*command, str(folder)], 2) == 0
    for worker in (0, 1):
        assert_same_end(folder, whole_of_two, worker)


@pytest.mark.slow
def test_two_workers_end_with_the_best_epoch(tmp_path, command, monkeypatch):
    monkeypatch.setenv("SLOW", "3")
    monkeypatch.setenv("OPTIONS", '{"epochs": 1, "restore_best": true}')
    assert launch([*command, str(tmp_path)], 2) == 0
    with np.load(tmp_path / "weights-0.npz") as first, np.load(tmp_path / "weights-1.npz") as second:
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
