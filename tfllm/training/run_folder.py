"""The run folder: what a training run leaves behind, and how the same call continues it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfllm.errors import ResumeMismatch
from tfllm.training.checkpoints import Checkpoints, Position

Row = dict[str, Any]


class RunFolder:
    """Settings, history and state of one training run.

        run.json              what was asked: settings, data, model
        history.jsonl         one line an epoch
        curves.png            the same as a picture
        state-EPOCHS-STEPS.npz  model, random seeds, optimizer and metrics at that place (the newest few)
        best.weights.h5       the model of the best epoch, if asked for
        tensorboard/          the same history for TensorBoard

    Args:
        path: the folder; made if it is not there.
        identity: what makes a run the same run. It is stored at the first call and compared at later ones.
        keep: how many states to keep.
        writes: whether this process writes; of several workers, which share the folder, only the first one does.

    Raises:
        ResumeMismatch: the folder belongs to a run with another identity; the message names what differs.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Row, *, keep: int = 2, writes: bool = True) -> None:
        self.path, self.writes = Path(path), writes
        self.path.mkdir(parents=True, exist_ok=True)
        self.checkpoints = Checkpoints(self.path, keep=keep, writes=writes)
        self.history = self._read_history()
        identity = json.loads(json.dumps(identity))
        known = self._read_json("run.json")
        if known is None or not (self.history or self.checkpoints.positions()):  # nothing would be lost
            if writes:
                write_atomically(self.path / "run.json", json.dumps(identity, indent=2, ensure_ascii=False) + "\n")
        elif known != identity:
            changed = [
                f"{key}: was {_short(known.get(key))}, now {_short(identity.get(key))}"
                for key in sorted(known.keys() | identity.keys())
                if known.get(key) != identity.get(key)
            ]
            raise ResumeMismatch(
                f"The run folder '{self.path}' belongs to another run. Changed: {'; '.join(changed)}. "
                "Use another run_dir, or remove the folder to start again."
            )

    @property
    def position(self) -> Position:
        """Where the run continues: epochs that are done, and steps of the next one."""
        return self.checkpoints.newest(epochs=len(self.history)) or (0, 0)

    def add_epoch(self, row: Row, model: keras.Model, arrays: Mapping[str, np.ndarray], *, best: bool) -> None:
        """Store an epoch: first the state, then the line that makes it count."""
        self.history.append(row)
        if not self.writes:
            return
        if best:
            _save_weights(model, self.path / "best.weights.h5")
        self.checkpoints.save((len(self.history), 0), arrays)
        lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in self.history]
        write_atomically(self.path / "history.jsonl", "".join(lines))

    def restore_best(self, model: keras.Model) -> None:
        """Load the model of the best epoch."""
        model.load_weights(str(self.path / "best.weights.h5"))

    def _read_history(self) -> list[Row]:
        file = self.path / "history.jsonl"
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []

    def _read_json(self, name: str) -> Row | None:
        file = self.path / name
        return json.loads(file.read_text("utf-8")) if file.is_file() else None


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new content, never half."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _save_weights(model: keras.Model, path: Path) -> None:
    partial = path.with_name(f"partial-{path.name}")  # Keras wants the name to end in .weights.h5
    model.save_weights(str(partial))
    partial.replace(path)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
