"""A file of texts to a file of results, of any length, that continues where it was stopped."""

import itertools
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfllm.client import tables
from tfllm.client.calls import Item
from tfllm.client.client import Client
from tfllm.client.progress import ProgressBar
from tfllm.client.tables import Row
from tfllm.errors import BadRow, ConfigError, DataError, MissingColumn, choices_hint
from tfllm.outputs import columns_of

_PARTS = ".parts"
_ROW_WIDE = ("scores",)  # one value a label: not a column of a table


@dataclass(frozen=True)
class ScoringJob:
    """What is scored, and how.

    Attributes:
        source: the file of the rows.
        out: the file to write: the rows with the results' columns.
        text: the column of the texts.
        text_pair: the column of the second texts, for models of pairs.
        prefix: goes before the names of the new columns.
        part_rows: how many rows are kept at a time: what a stop can cost at most, and what is in memory.
    """

    source: str
    out: str
    text: str = "text"
    text_pair: str | None = None
    prefix: str = ""
    part_rows: int = 20_000


def score_file(
    open_client: Callable[[int | None], Client],
    job: ScoringJob,
    *,
    batch_size: int = 256,
    concurrency: int = 8,
    progress: bool | None = None,
) -> int:
    """Score the rows of a file, and write them with the results to another one.

    Finished parts are in the folder `<out>.parts` until all are done. A call with the same job continues after them,
    with the version of the model that it began with, and the output is the same as without the stop.

    Args:
        open_client: opens a client of a version of the model, or of the one that it is to ask if given `None`.
        job: what is scored.
        batch_size: how many rows go into one request at most.
        concurrency: how many requests are under way at once.
        progress: whether a bar is shown; see `Client.predict`.

    Returns:
        the number of rows in the output.

    Raises:
        ConfigError: the output is there already, or its parts are of another job.
        DataError: the rows cannot be read, lack a column or have no text.
        CallError: a request failed; the parts that are done stay.

    Example:
        >>> def open_client(version):
        ...     return Client("localhost:8500", model="reviews", version=version)
        >>> score_file(open_client, ScoringJob("rows.csv", "scored.parquet", text="review"))
        1000000
    """
    source, out = Path(job.source), Path(job.out)
    ending = tables.format_of(out)
    tables.format_of(source)
    if not source.is_file():
        raise DataError(f"Expected a file of rows. Received: '{source}', which is not there.")
    folder = out.with_name(out.name + _PARTS)
    if out.exists() and not folder.exists():
        raise ConfigError(f"Expected an output that is not there yet. Received: '{out}'. Remove it, or name another.")
    state = _begin(folder, job, open_client)
    parts = _finished(folder)
    rows = itertools.islice(tables.read_rows(source), len(parts) * job.part_rows, None)
    done, total = len(parts) * job.part_rows, tables.count_rows(source)
    length = None if total is None else range(total)
    with open_client(state["version"]) as client, ProgressBar(length, progress) as bar:
        scored = _scored(client, rows, job, (batch_size, concurrency), done)
        while part := list(itertools.islice(scored, job.part_rows)):
            path = folder / f"{len(parts):06}{ending}"
            state |= {"columns": state["columns"] or list(part[0]), "rows": done + len(part)}
            _note(folder, state)  # before the part: what is not there yet is done again
            tables.write_part(path, ending, part, state["columns"])
            parts.append(path)
            done += len(part)
            bar.update(done)
    if not parts:
        raise DataError(f"Expected rows. Received: '{source}', which has none.")
    tables.join_parts(parts, out, state["columns"])
    shutil.rmtree(folder)
    return int(state["rows"])


def finished_rows(job: ScoringJob) -> int:
    """Return how many rows of a job are done already."""
    out = Path(job.out)
    return len(_finished(out.with_name(out.name + _PARTS))) * job.part_rows


def _begin(folder: Path, job: ScoringJob, open_client: Callable[[int | None], Client]) -> dict[str, Any]:
    """Return the state of a job: that of its parts, or a new one.

    Raises:
        ConfigError: the parts are of another job, or of rows that have changed since.
    """
    stat = Path(job.source).stat()
    identity = {**asdict(job), "bytes": stat.st_size, "changed": stat.st_mtime_ns}
    file = folder / "job.json"
    if file.exists():
        state: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if state["job"] != identity:
            changed = [name for name in identity if state["job"].get(name) != identity[name]]
            raise ConfigError(
                f"Expected the job that '{folder}' belongs to. Received: another {', '.join(changed)}. "
                "Remove the folder to begin anew."
            )
        return state
    with open_client(None) as client:
        state = {"job": identity, "version": client.metadata().version, "rows": 0, "columns": []}
    folder.mkdir(parents=True, exist_ok=True)
    _note(folder, state)
    return state


def _note(folder: Path, state: dict[str, Any]) -> None:
    unfinished = folder / "job.json.unfinished"
    unfinished.write_text(json.dumps(state), "utf-8")
    unfinished.replace(folder / "job.json")


def _finished(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if not path.name.endswith(".unfinished"))


def _scored(client: Client, rows: Iterator[Row], job: ScoringJob, sizes: tuple[int, int], first: int) -> Iterator[Row]:
    """Yield each row with its result; as many rows are in memory as are under way."""
    waiting: deque[Row] = deque()

    def items() -> Iterator[Item]:
        for number, row in enumerate(rows, first + 1):
            waiting.append(row)
            yield _item(row, job, number)

    for result in client.map(items(), batch_size=sizes[0], concurrency=sizes[1]):
        row, found = waiting.popleft(), columns_of(result)  # type: ignore[arg-type]  # on_error is "raise"
        for name, value in found.items():
            if name in _ROW_WIDE:
                continue
            if f"{job.prefix}{name}" in row:
                raise ConfigError(
                    f"Expected rows without a column '{job.prefix}{name}'. Received: '{job.source}', which has it. "
                    "Give a prefix."
                )
            row[f"{job.prefix}{name}"] = value.tolist() if hasattr(value, "tolist") else value
        yield row


def _item(row: Row, job: ScoringJob, number: int) -> Item:
    if job.text_pair is None:
        return _text(row, job.text, number)
    return _text(row, job.text, number), _text(row, job.text_pair, number)


def _text(row: Row, column: str, number: int) -> str:
    if column not in row:
        raise MissingColumn(f"Expected a column '{column}' in row {number}. {choices_hint(column, row)}")
    if not isinstance(row[column], str):
        raise BadRow(f"Expected text in column '{column}'. Received: {row[column]!r:.40} in row {number}.")
    return str(row[column])
