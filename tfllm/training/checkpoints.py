"""Checkpoints: all that the next step depends on, in one file, the last few of them kept."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from tfllm.errors import ResumeMismatch, TrainingError

_NAME = re.compile(r"state-(\d+)-(\d+)\.npz")

Position = tuple[int, int]
"""Epochs that are done, and steps that are done of the next one."""


class Checkpoints:
    """The files `state-EPOCHS-STEPS.npz` of a folder.

    A file appears whole or not at all, and older ones are removed only when it is there and counts; so a full disk or a
    kill costs the steps since the last one, never the run.

    Args:
        folder: where they are.
        keep: how many of the newest to keep.
        writes: whether this process writes; of several workers only the first one does.

    Example:
        >>> import tempfile
        >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp()), keep=1)
        >>> checkpoints.save((0, 5), {"weight": np.ones(2)})
        >>> checkpoints.remove_old((0, 5))
        >>> checkpoints.newest(epochs=0)
        (0, 5)
    """

    def __init__(self, folder: Path, *, keep: int = 2, writes: bool = True) -> None:
        self.folder, self.keep, self.writes = folder, keep, writes

    def positions(self) -> list[Position]:
        """Return the positions there are, the newest last."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("state-*.npz"))
        return sorted((int(name[1]), int(name[2])) for name in names if name)

    def newest(self, *, epochs: int) -> Position | None:
        """Return the newest position of a run that has stored so many epochs, or None.

        A state that is ahead of the stored history is left out: the process died between the two.
        """
        return max((position for position in self.positions() if position[0] <= epochs), default=None)

    def save(self, position: Position, arrays: Mapping[str, np.ndarray]) -> None:
        """Store a state; `remove_old` then removes the oldest ones.

        Raises:
            TrainingError: the file could not be written; the older ones are still there.
        """
        if not self.writes:
            return
        path = self._path(position)
        partial = path.with_name(f"partial-{path.name}")
        try:
            with partial.open("wb") as stream:
                np.savez(stream, **arrays)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise TrainingError(
                f"Expected room for a checkpoint in '{self.folder}'. Received: {error}. The older checkpoints are "
                "whole; free some space and make the same call again."
            ) from error

    def remove_old(self, position: Position) -> None:
        """Keep the newest states up to a position where the run can go on, and remove those before them.

        A state that is ahead of it is left alone, and does not count as one of them: see `newest`.
        """
        if not self.writes:
            return
        for old in [each for each in self.positions() if each <= position][: -self.keep]:
            self._path(old).unlink(missing_ok=True)

    def restore(self, position: Position, variables: Mapping[str, keras.Variable]) -> None:
        """Give variables the values of a stored state.

        Raises:
            ResumeMismatch: the state is that of another model.
        """
        with np.load(self._path(position)) as stored:
            if stored.keys() != variables.keys():
                raise ResumeMismatch(
                    f"Expected the state of this model in '{self.folder}'. Received: one with other variables."
                )
            for name, variable in variables.items():
                variable.assign(stored[name])

    def _path(self, position: Position) -> Path:
        return self.folder / f"state-{position[0]}-{position[1]}.npz"
