"""Keras callbacks of fine-tuning: progress and the run folder."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tfllm.presets import ONEDNN_TOO_LATE
from tfllm.training.averaging import averaged
from tfllm.training.curves import save_curves
from tfllm.training.epoch_work import EpochWork
from tfllm.training.precision import kernels_advice, processor
from tfllm.training.run_folder import RunFolder
from tfllm.training.summaries import size_line

Logs = dict[str, Any]

_DRAW_EVERY = 15.0
"""Seconds between two pictures of a run; one takes half a second, which short epochs would feel."""


class ProgressBar(keras.callbacks.Callback):
    """A bar with loss, metrics, examples and tokens a second, padding and time left, and one line an epoch.

    Args:
        console: where to print; standard error by default.
    """

    def __init__(self, *, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._start = 0.0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Say how large the model is, and that the first step takes longer."""
        self.console.print(f"[dim]{size_line(self.model)}[/]", highlight=False, soft_wrap=True)
        advice = kernels_advice(processor(), onednn_too_late=ONEDNN_TOO_LATE)
        if advice is not None:
            self.console.print(f"[dim]{advice}[/]", highlight=False, soft_wrap=True)
        if self.console.is_terminal:
            self.console.print("[dim]Building the training graph; the first step takes some seconds.[/]")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Show a new bar."""
        self._start = time.perf_counter()
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
        self._bar = Progress(
            *columns, TimeRemainingColumn(), console=self.console, transient=True, disable=not self.console.is_terminal
        )
        description = f"Epoch {epoch + 1}/{self.params['epochs']}"
        work: EpochWork = self.params["work"]
        self._task = self._bar.add_task(description, total=work.all_rows, completed=work.rows_before, state="")
        self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar."""
        if self._bar is not None and self.console.is_terminal:
            work: EpochWork = self.params["work"]
            speed = work.speed(batch, time.perf_counter() - self._start)
            state = (
                f"{_numbers(logs or {})}  {speed['examples_per_second']:.0f} examples/s"
                f"  {speed['tokens_per_second']:.0f} tokens/s  {speed['padding']:.1%} padding"
            )
            self._bar.update(self._task, completed=work.rows_done(batch), state=state)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Say that validation runs."""
        if self._bar is not None:
            self._bar.update(self._task, state="validating")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Print the epoch's line."""
        self.close()
        self.console.print(
            f"Epoch {epoch + 1}/{self.params['epochs']}  {_numbers(logs or {})}", highlight=False, soft_wrap=True
        )

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class RunRecorder(keras.callbacks.Callback):
    """Stores each epoch in the run folder, marks the best one, and stops when there was no better one for long.

    Everything it decides follows from the stored history, so a resumed run decides alike.

    Args:
        folder: the run folder.
        arrays: gives all that the next step depends on, by name.
        monitor: the quantity that says which epoch is best, such as `("val_accuracy", "max")`.
        patience: epochs without a better one before training stops, or None.
        keep_best: whether to store the best epoch's weights.
    """

    def __init__(
        self,
        folder: RunFolder,
        arrays: Callable[[], Mapping[str, np.ndarray]],
        *,
        monitor: tuple[str, str],
        patience: int | None,
        keep_best: bool,
    ) -> None:
        super().__init__()
        self.folder, self.arrays, self.monitor = folder, arrays, monitor
        self._last_step = 0
        self.patience, self.keep_best = patience, keep_best
        self._start = 0.0
        self._train_seconds = 0.0
        self._drawn = -math.inf

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the clock."""
        self._start, self._train_seconds = time.perf_counter(), 0.0
        self._last_step = self.params["work"].first_step - 1

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Note the step."""
        self._last_step = batch

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Stop the clock: validation does not count as training."""
        self._train_seconds = time.perf_counter() - self._start

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Store the epoch."""
        seconds = self._train_seconds or time.perf_counter() - self._start
        values = {name: float(value) for name, value in (logs or {}).items()}
        row = {
            "epoch": epoch + 1,
            **values,
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": round(seconds, 2),
            **self.params["work"].speed(self._last_step, seconds),
        }
        best = best_epoch([*self.folder.history, row], self.monitor) == epoch + 1
        arrays = self.arrays() if self.folder.lasting else {}
        with averaged(self.model):
            self.folder.add_epoch(row, self.model, arrays, best=best and self.keep_best)
        if time.monotonic() - self._drawn > _DRAW_EVERY:
            self.draw()
        if should_stop(self.folder.history, self.monitor, self.patience):
            self.model.stop_training = True

    def draw(self) -> None:
        """Write the picture of the curves, as far as they go."""
        if self.folder.writes and self.folder.lasting and self.folder.history:
            save_curves(self.folder.history, self.folder.path / "curves.png")
        self._drawn = time.monotonic()


def best_epoch(history: list[Logs], monitor: tuple[str, str]) -> int:
    """Return the number of the best epoch, the first of equals; the last one where the quantity is not measured."""
    name, direction = monitor
    if not history or name not in history[-1]:
        return len(history)
    values = [row[name] for row in history]
    return values.index(max(values) if direction == "max" else min(values)) + 1


def should_stop(history: list[Logs], monitor: tuple[str, str], patience: int | None) -> bool:
    """Return whether the last `patience` epochs brought nothing better."""
    return patience is not None and len(history) - best_epoch(history, monitor) >= patience


def _numbers(logs: Logs) -> str:
    return "  ".join(f"{name} {float(value):.4f}" for name, value in logs.items())
