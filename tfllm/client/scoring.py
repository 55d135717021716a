"""A file of texts to a file of results, of any length, that continues where it was stopped."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfllm.client import tables
from tfllm.client.calls import Item
from tfllm.client.client import Client
from tfllm.client.parts import Parts, State
from tfllm.client.progress import ProgressBar
from tfllm.client.tables import Row
from tfllm.errors import BadRow, ConfigError, DataError, MissingColumn, choices_hint
from tfllm.outputs import ROW_WIDE, columns_of


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
    parts, identity = Parts(out, job.part_rows), _identity(job)
    if (finished := parts.finished_before(identity)) is not None:
        return finished
    state = parts.state(identity) or _new_state(identity, open_client)
    parts.note(state)
    rows = itertools.islice(tables.read_rows(source), parts.rows, None)
    done, total = parts.rows, tables.count_rows(source)
    length = None if total is None else range(total)
    with open_client(state["version"]) as client, ProgressBar(length, progress) as bar:
        scored = _scored(client, rows, job, (batch_size, concurrency), done)
        while part := list(itertools.islice(scored, job.part_rows)):
            path = parts.next_file(ending)
            state |= {"columns": state["columns"] or list(part[0]), "rows": done + len(part)}
            parts.note(state)  # before the part: what is not there yet is done again
            tables.write_part(path, ending, part, state["columns"])
            parts.files.append(path)
            done += len(part)
            bar.update(done)
    if not parts.files:
        raise DataError(f"Expected rows. Received: '{source}', which has none.")
    parts.note(state | {"whole": True})
    tables.join_parts(parts.files, out, state["columns"])
    parts.remove()
    return int(state["rows"])


def finished_rows(job: ScoringJob) -> int:
    """Return how many rows of a job are done already."""
    return Parts(Path(job.out), job.part_rows).rows


def _identity(job: ScoringJob) -> dict[str, Any]:
    """Return what must not change while a job goes on."""
    stat = Path(job.source).stat()
    return {**asdict(job), "bytes": stat.st_size, "changed": stat.st_mtime_ns}


def _new_state(identity: dict[str, Any], open_client: Callable[[int | None], Client]) -> State:
    with open_client(None) as client:
        return {"job": identity, "version": client.metadata().version, "rows": 0, "columns": []}


def _scored(client: Client, rows: Iterator[Row], job: ScoringJob, sizes: tuple[int, int], first: int) -> Iterator[Row]:
    """Yield each row with its result; as many rows are in memory as are under way."""
    waiting: deque[Row] = deque()

    def items() -> Iterator[Item]:
        for number, row in enumerate(rows, first + 1):
            waiting.append(row)
            yield _item(row, job, number)

    for result in client._map(items(), *sizes, "raise", first):
        row, found = waiting.popleft(), columns_of(result)  # type: ignore[arg-type]  # no errors among them
        for name, value in found.items():
            if name in ROW_WIDE:
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
