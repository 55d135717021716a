"""A progress bar for calls that take long: on a terminal and in notebooks, with rich."""

import sys
import time
from collections.abc import Sized
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress

_QUIET_SECONDS = 2.0


class ProgressBar:
    """The rows of a call that are done; it appears when the call is under way for 2 seconds.

    Args:
        rows: what is gone through; without a length, the bar has no end.
        wanted: `True` for a bar from the start, `False` for none, `None` for one after 2 seconds where a person
            watches: on a terminal or in a notebook.
    """

    def __init__(self, rows: object, wanted: bool | None) -> None:
        self._total = len(rows) if isinstance(rows, Sized) else None
        self._wanted = _is_watched() if wanted is None else wanted
        self._from = time.monotonic() + (0.0 if wanted else _QUIET_SECONDS)
        self._shown: Progress | None = None

    def update(self, done: int) -> None:
        """Say how many rows are done."""
        if not self._wanted or time.monotonic() < self._from:
            return
        if self._shown is None:
            self._shown = _bar(self._total)
        self._shown.update(self._shown.task_ids[0], completed=done)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.stop()


def _is_watched() -> bool:
    """Say whether standard error is a terminal, or the code runs in a notebook."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


def _bar(total: int | None) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True))
    progress.add_task("predict", total=total)
    progress.start()
    return progress
