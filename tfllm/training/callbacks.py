"""Keras callbacks of fine-tuning: progress, the run folder, and a stop at the first loss that is no number."""

import math
import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tfllm.errors import NonFiniteLoss
from tfllm.training.curves import save_curves
from tfllm.training.run_folder import RunFolder

Logs = dict[str, Any]


class ProgressBar(keras.callbacks.Callback):
    """A bar with loss, metrics, examples a second and time left, and one line an epoch.

    Args:
        rows: the rows of one epoch.
        batch_size: the rows of a step.
        console: where to print; standard error by default.
    """

    def __init__(self, rows: int, batch_size: int, *, console: Console | None = None) -> None:
        super().__init__()
        self.rows, self.batch_size = rows, batch_size
        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._start = 0.0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Say that the first step takes longer."""
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
        self._task = self._bar.add_task(description, total=self.rows, state="")
        self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar."""
        if self._bar is not None and self.console.is_terminal:
            done = min((batch + 1) * self.batch_size, self.rows)
            speed = done / (time.perf_counter() - self._start)
            state = f"{_numbers(logs or {})}  {speed:.0f} examples/s"
            self._bar.update(self._task, completed=done, state=state)

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
        rows: the rows of one epoch.
        monitor: the quantity that says which epoch is best, such as `("val_accuracy", "max")`.
        patience: epochs without a better one before training stops, or None.
        keep_best: whether to store the best epoch's weights.
    """

    def __init__(
        self, folder: RunFolder, rows: int, *, monitor: tuple[str, str], patience: int | None, keep_best: bool
    ) -> None:
        super().__init__()
        self.folder, self.rows, self.monitor = folder, rows, monitor
        self.patience, self.keep_best = patience, keep_best
        self._start = 0.0
        self._train_seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the clock."""
        self._start, self._train_seconds = time.perf_counter(), 0.0

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
            "examples_per_second": round(self.rows / seconds, 1),
        }
        best = best_epoch([*self.folder.history, row], self.monitor) == epoch + 1
        self.folder.add_epoch(row, self.model, best=best and self.keep_best)
        history = self.folder.history
        save_curves(history, self.folder.path / "curves.png")
        if should_stop(history, self.monitor, self.patience):
            self.model.stop_training = True


class StopAtNonFiniteLoss(keras.callbacks.Callback):
    """Raises `NonFiniteLoss` soon after the loss became NaN or infinite."""

    _EVERY = 10

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the running loss now and then."""
        if batch % self._EVERY == 0:
            self._check(f"step {batch + 1} of this epoch", logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the epoch's loss before it is stored."""
        self._check(f"the end of epoch {epoch + 1}", logs)

    def _check(self, place: str, logs: Logs | None) -> None:
        for name in ("loss", "val_loss"):
            value = float((logs or {}).get(name, 0.0))
            if not math.isfinite(value):
                rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
                raise NonFiniteLoss(
                    f"Expected a finite loss. Received: {name} {value} at {place}, learning rate {rate:.2e}. "
                    "Lower learning_rate, set clip_norm, or look at the rows with odd texts."
                )


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
