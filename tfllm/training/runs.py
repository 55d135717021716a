"""What a folder of runs holds: `list_runs`. No TensorFlow here."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfllm.errors import DataError

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        path: its folder.
        settings: what was asked: settings, task, preset, fingerprints of the data.
        epochs: one row an epoch, as in `History.epochs`; of a run that goes on, those that are done.
    """

    path: Path
    settings: dict[str, Any]
    epochs: list[dict[str, Any]]

    def curve(self, name: str) -> str:
        """Return a quantity over the epochs as a line of bars, the lowest and the highest value scaled to fit.

        Example:
            >>> Run(Path("."), {}, [{"loss": 0.9}, {"loss": 0.5}, {"loss": 0.1}]).curve("loss")
            '█▄▁'
        """
        values = [row[name] for row in self.epochs if name in row]
        if not values:
            return ""
        low, width = min(values), (max(values) - min(values)) or 1.0
        return "".join(_BARS[int((value - low) / width * (len(_BARS) - 1))] for value in values)


def list_runs(folder: str | os.PathLike[str]) -> list[Run]:
    """Find the runs in a folder, at any depth; a run folder itself is one.

    Args:
        folder: where `run_dir` pointed, or a folder above.

    Returns:
        The runs, by path.

    Raises:
        DataError: the folder is not there.

    Example:
        >>> import tempfile
        >>> list_runs(tempfile.mkdtemp())
        []
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"Expected a folder of training runs. Received: '{root}', which is not there.")
    return [_read(file.parent) for file in sorted(root.rglob("run.json"))]


def _read(path: Path) -> Run:
    history = path / "history.jsonl"
    lines = history.read_text("utf-8").splitlines() if history.is_file() else []
    settings = json.loads((path / "run.json").read_text("utf-8"))
    return Run(path, settings, [json.loads(line) for line in lines])
