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
        lasting: whether the folder stays. In one that does not, only the model of the best epoch is written, if asked
            for: no later call will go on.

    Raises:
        ResumeMismatch: the folder belongs to a run with another identity, and the message names what differs; or it has
            a history, but not the state that belongs to it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        identity: Row,
        *,
        keep: int = 2,
        writes: bool = True,
        lasting: bool = True,
    ) -> None:
        self.path, self.writes, self.lasting = Path(path), writes, lasting
        self.path.mkdir(parents=True, exist_ok=True)
        self.checkpoints = Checkpoints(self.path, keep=keep, writes=writes)
        self.history = self._read_history()
        if lasting:
            self._require_the_same(json.loads(json.dumps(identity)))
            self._require_a_state()

    @property
    def position(self) -> Position:
        """Where the run continues: epochs that are done, and steps of the next one."""
        return self.checkpoints.newest(epochs=len(self.history)) or (0, 0)

    def save(self, position: Position, arrays: Mapping[str, np.ndarray]) -> None:
        """Store a state within an epoch, then remove the oldest one.

        Raises:
            TrainingError: the file could not be written; the older ones are still there.
        """
        self.checkpoints.save(position, arrays)
        self.checkpoints.remove_old(position)

    def add_epoch(self, row: Row, model: keras.Model, arrays: Mapping[str, np.ndarray], *, best: bool) -> None:
        """Store an epoch: first the state, then the line that makes it count; only then the oldest state goes."""
        self.history.append(row)
        if not self.writes:
            return
        if best:
            _save_weights(model, self.path / "best.weights.h5")
        if not self.lasting:
            return
        position = (len(self.history), 0)
        self.checkpoints.save(position, arrays)
        lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in self.history]
        write_atomically(self.path / "history.jsonl", "".join(lines))
        self.checkpoints.remove_old(position)

    def restore_best(self, model: keras.Model) -> None:
        """Load the model of the best epoch."""
        model.load_weights(str(self.path / "best.weights.h5"))

    def _require_the_same(self, identity: Row) -> None:
        known = self._read_json("run.json")
        if known is None or not (self.history or self.checkpoints.positions()):  # nothing would be lost
            if self.writes:
                write_atomically(self.path / "run.json", json.dumps(identity, indent=2, ensure_ascii=False) + "\n")
        elif known != identity:
            raise ResumeMismatch(
                f"The run folder '{self.path}' belongs to another run. Changed: {changes(known, identity)}. "
                "Use another run_dir, or remove the folder to start again."
            )

    def _require_a_state(self) -> None:
        epochs = len(self.history)
        if self.position[0] == epochs:
            return
        states = ", ".join(f"state-{done}-{steps}.npz" for done, steps in self.checkpoints.positions())
        raise ResumeMismatch(
            f"Expected a state to go on from in '{self.path}': state-{epochs}-*.npz, as its history.jsonl ends with "
            f"epoch {epochs}. Received: {states or 'no state'}. Put the state back, use another run_dir, or remove the "
            "folder to start again."
        )

    def _read_history(self) -> list[Row]:
        file = self.path / "history.jsonl"
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []

    def _read_json(self, name: str) -> Row | None:
        file = self.path / name
        return json.loads(file.read_text("utf-8")) if file.is_file() else None


def changes(known: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what differs between a stored identity and that of a call.

    Example:
        >>> changes({"epochs": 3, "seed": 0}, {"epochs": 4, "seed": 0})
        'epochs: was 3, now 4'
    """
    return "; ".join(
        f"{key}: was {_short(known.get(key))}, now {_short(now.get(key))}"
        for key in sorted(known.keys() | now.keys())
        if known.get(key) != now.get(key)
    )


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
