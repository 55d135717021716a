"""The run folder: what a training run leaves behind, and how the same call continues it."""

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfllm.errors import ResumeMismatch

Row = dict[str, Any]


class RunFolder:
    """Settings, history and state of one training run.

        run.json          what was asked: settings, data, model
        history.jsonl     one line an epoch
        curves.png        the same as a picture
        state-N.npz       model, random seeds and optimizer after epoch N (the newest only)
        best.weights.h5   the model of the best epoch, if asked for

    Args:
        path: the folder; made if it is not there.
        identity: what makes a run the same run. It is stored at the first call and compared at later ones.

    Raises:
        ResumeMismatch: the folder belongs to a run with another identity; the message names what differs.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Row) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        identity = json.loads(json.dumps(identity))
        known = self._read_json("run.json")
        if known is None or not self.history:  # nothing would be lost
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
    def history(self) -> list[Row]:
        """One row for each epoch that is done."""
        file = self.path / "history.jsonl"
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []

    def add_epoch(self, row: Row, model: keras.Model, *, best: bool) -> None:
        """Store an epoch: first the state, then the line that makes it count, then the old state goes."""
        rows = [*self.history, row]
        if best:
            _save_weights(model, self.path / "best.weights.h5")
        _save_state(model, self._state(len(rows)))
        write_atomically(
            self.path / "history.jsonl", "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in rows)
        )
        self._state(len(rows) - 1).unlink(missing_ok=True)

    def restore(self, model: keras.Model) -> None:
        """Load model, random seeds and optimizer as they were after the last epoch that is done.

        Raises:
            ResumeMismatch: the stored state is that of another model.
        """
        variables = _state_variables(model)
        with np.load(self._state(len(self.history))) as stored:
            if stored.keys() != variables.keys():
                raise ResumeMismatch(
                    f"Expected the state of this model in '{self.path}'. Received: one with other variables."
                )
            for name, variable in variables.items():
                variable.assign(stored[name])

    def restore_best(self, model: keras.Model) -> None:
        """Load the model of the best epoch."""
        model.load_weights(str(self.path / "best.weights.h5"))

    def _state(self, epochs: int) -> Path:
        return self.path / f"state-{epochs}.npz"

    def _read_json(self, name: str) -> Row | None:
        file = self.path / name
        return json.loads(file.read_text("utf-8")) if file.is_file() else None


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new content, never half."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _state_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """All that the next step depends on: weights, the seeds of dropout, and the optimizer's own variables.

    Keras's weight files leave the seeds out, so a run continued from them would draw other dropout masks.
    """
    variables = [*model.variables, *model.optimizer.variables]
    return {f"{index:04}": variable for index, variable in enumerate(variables)}


def _save_state(model: keras.Model, path: Path) -> None:
    partial = path.with_name(f"partial-{path.name}")
    arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in _state_variables(model).items()}
    np.savez(partial, **arrays)
    partial.replace(path)


def _save_weights(model: keras.Model, path: Path) -> None:
    partial = path.with_name(f"partial-{path.name}")  # Keras wants the name to end in .weights.h5
    model.save_weights(str(partial))
    partial.replace(path)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
