"""The finished parts of a long job, in a folder beside its output, until the output is there."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfllm.errors import ConfigError

State = dict[str, Any]


class Parts:
    """The parts of a job's output, numbered, and the job that they belong to.

    The folder `<out>.parts` has them. It gets another name at once when the output is there, so that a stop while it is
    removed leaves nothing that looks like parts.

    Args:
        out: the output.
        part_rows: the rows of a part.

    Attributes:
        folder: where the parts are.
        files: the finished parts, in order; what comes after a gap is done again.
    """

    def __init__(self, out: Path, part_rows: int) -> None:
        self._out, self._part_rows = out, part_rows
        self.folder = out.with_name(f"{out.name}.parts")
        self._removed = out.with_name(f"{out.name}.parts.removed")
        self.files = self._finished()

    @property
    def rows(self) -> int:
        """How many rows the finished parts have, if they are full ones."""
        return len(self.files) * self._part_rows

    def finished_before(self, job: Mapping[str, Any]) -> int | None:
        """Return the rows of an output that is there, if the job wrote it and was stopped while it removed its parts.

        What is left of the parts is removed.

        Raises:
            ConfigError: the output is there, and this job is not known to have written it.
        """
        if not self._out.exists():
            shutil.rmtree(self._removed, ignore_errors=True)
            return None
        done, state = _state(self._removed), _state(self.folder)
        self._remove()
        if done is not None and done["job"] == job:
            return int(done["rows"])
        if state is not None and state.get("whole") and self.rows >= state["rows"]:
            return None  # stopped before the parts were removed: they are joined again
        parts = f", and parts of it in '{self.folder}'" if self.folder.exists() else ""
        raise ConfigError(
            f"Expected an output that is not there yet. Received: '{self._out}'{parts}. Remove it, or name another."
        )

    def state(self, job: Mapping[str, Any]) -> State | None:
        """Return the state that the parts were left in; `None` if none is finished, so that a job may begin.

        Raises:
            ConfigError: the parts are of another job, or of rows that have changed since.
        """
        state = _state(self.folder) if self.files else None
        if self.files and (state is None or state["job"] != job):
            stored = {} if state is None else state["job"]
            changed = [name for name in job if stored.get(name) != job[name]]
            what = f"another {', '.join(changed)}" if state else "parts without job.json"
            raise ConfigError(
                f"Expected the job that '{self.folder}' belongs to. Received: {what}. Remove the folder to begin anew."
            )
        for stray in set(self.folder.glob("[0-9]*")).difference(self.files):
            stray.unlink()
        return state

    def note(self, state: State) -> None:
        """Write the state, wholly or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / "job.json.unfinished"
        unfinished.write_text(json.dumps(state), "utf-8")
        unfinished.replace(self.folder / "job.json")

    def next_file(self, ending: str) -> Path:
        """Return the file of the next part."""
        return self.folder / f"{len(self.files):06}{ending}"

    def remove(self) -> None:
        """Remove the parts, once the output is there."""
        shutil.rmtree(self._removed, ignore_errors=True)
        self.folder.rename(self._removed)
        self._remove()

    def _remove(self) -> None:
        for part in self._removed.glob("[0-9]*"):
            part.unlink()
        shutil.rmtree(self._removed, ignore_errors=True)  # last the job, which says what the output is of

    def _finished(self) -> list[Path]:
        found = sorted(path for path in self.folder.glob("[0-9]*") if not path.name.endswith(".unfinished"))
        return [path for number, path in enumerate(found) if int(path.name.partition(".")[0]) == number]


def _state(folder: Path) -> State | None:
    file = folder / "job.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else None
