import os
import subprocess
import sys

import numpy as np

from tfllm.training.checkpoints import Checkpoints


class Variable:
    value = None

    def assign(self, value):
        self.value = value


def test_the_last_few_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for position in ((0, 5), (1, 0), (0, 10), (1, 5)):
        checkpoints.save(position, {"a": np.full(2, position[1])})
        checkpoints.remove_old(position)
    assert checkpoints.positions() == [(1, 0), (1, 5)]
    variable = Variable()
    checkpoints.restore((1, 5), {"a": variable})
    assert variable.value.tolist() == [5, 5]


def test_a_state_ahead_of_the_history_does_not_count(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save((0, 5), {})
    checkpoints.save((1, 0), {})
    assert checkpoints.newest(epochs=0) == (0, 5)
    assert checkpoints.newest(epochs=1) == (1, 0)
    assert Checkpoints(tmp_path / "empty").newest(epochs=3) is None


def test_a_state_ahead_of_the_history_does_not_push_others_out(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for position in ((0, 5), (1, 0), (0, 10)):  # killed between the state of epoch 1 and the line of its history
        checkpoints.save(position, {})
    checkpoints.remove_old((0, 10))
    assert checkpoints.positions() == [(0, 10), (1, 0)] and checkpoints.newest(epochs=0) == (0, 10)


def test_a_full_disk_loses_nothing_older(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save((0, 1), {"a": np.ones(2)})

    script = f"""
import resource, signal, numpy, pathlib
from tfllm.training.checkpoints import Checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
Checkpoints(pathlib.Path({str(tmp_path)!r})).save((0, 2), {{"a": numpy.ones(100_000)}})
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert "TrainingError: Expected room for a checkpoint" in done.stderr
    assert "The older checkpoints are whole" in done.stderr
    assert checkpoints.positions() == [(0, 1)]
    assert [path.name for path in tmp_path.iterdir()] == ["state-0-1.npz"]


def test_other_workers_do_not_write(tmp_path):
    Checkpoints(tmp_path, writes=False).save((0, 1), {"a": np.ones(2)})
    assert not list(tmp_path.iterdir())
    for step in (1, 2):
        Checkpoints(tmp_path).save((0, step), {})
    Checkpoints(tmp_path, keep=1, writes=False).remove_old((0, 2))
    assert len(list(tmp_path.iterdir())) == 2
