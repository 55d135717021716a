"""The progress bar on a terminal, and the work of an epoch."""

import io

import keras
import pytest
from rich.console import Console

from tfllm.training.callbacks import ProgressBar
from tfllm.training.epoch_work import EpochWork


def test_a_bar_on_a_terminal_goes_on_where_a_run_stopped():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizer="adam")
    screen = io.StringIO()
    bar = ProgressBar(console=Console(file=screen, force_terminal=True, width=200))
    bar.set_params({"epochs": 2, "work": EpochWork([4, 4, 1], [40, 40, 5], [50, 50, 5], first_step=2, rows_before=8)})
    bar.set_model(model)
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    (task,) = bar._bar.tasks
    assert (task.total, task.completed) == (17, 8)
    bar.on_train_batch_end(2, {"loss": 0.5})
    bar.on_train_batch_end(3, {"loss": 0.25})
    assert task.completed == 16
    assert task.fields["state"].startswith("loss 0.2500  ") and task.fields["state"].endswith(
        " tokens/s  20.0% padding"
    )
    bar.on_epoch_end(0, {"loss": 0.25})
    assert bar._bar is None and "Epoch 1/2  loss 0.2500" in screen.getvalue()


def test_an_epoch_without_a_step_left():
    work = EpochWork([], [], [], first_step=5, rows_before=40)
    assert (work.steps, work.all_rows, work.rows_done(4)) == (5, 40, 40)
    assert work.speed(4, 0.5) == {"examples_per_second": 0.0, "tokens_per_second": 0.0, "padding": 0.0}


@pytest.mark.parametrize("step, rows", [(2, 12), (4, 17)])
def test_rows_done(step, rows):
    assert EpochWork([4, 4, 1], [1, 1, 1], [1, 1, 1], first_step=2, rows_before=8).rows_done(step) == rows
