"""Read tables of text from files, and know the line of every row."""

import contextlib
import csv
import gzip
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from tfllm.data import conll, squad
from tfllm.errors import BadRow, DataError, EmptyDataset, choices_hint

_CHUNK_ROWS = 100_000
_PROGRESS_BYTES = 50_000_000
_LONGEST_FIELD = 2**31 - 1
_HINT_UNQUOTED = (
    " If no cell is quoted, as in GLUE, load the DataFrame of "
    "pandas.read_csv(path, sep='\\t', quoting=3, dtype=str, keep_default_na=False)."
)

Row = tuple[Any, Any]
"""The line where a row starts (or which question it is), and its cells."""


@dataclass(frozen=True)
class Layout:
    """What the columns of a table are, where its format says so."""

    text: str
    text_pair: str | None
    label: str | None
    label_kind: str


_SQUAD = Layout("question", "context", "answers", "answers")


@dataclass
class Table:
    """A table as it was read, with the place of each row.

    Attributes:
        name: what messages call it.
        frame: the rows, numbered from 0.
        unit: what `numbers` are: the "line" of a file, the "row" where there are no lines, or empty where they say it
            themselves, as "question 17" does.
        numbers: the place of each row.
        problems: rows that could not be read, which `frame` lacks: their place, and what is wrong.
        layout: what the columns are, or None where the caller must say.
    """

    name: str
    frame: pd.DataFrame
    unit: str = "row"
    numbers: list[Any] = field(default_factory=list)
    problems: list[tuple[Any, str]] = field(default_factory=list)
    layout: Layout | None = None


def read_table(path: Path, columns: conll.ConllLayout | None = None) -> Table:
    """Read a file of one of `ENDINGS`, each also with `.gz`.

    Args:
        path: the file.
        columns: which columns a CoNLL-style file has; with named columns the file is such a one, whatever its ending.

    Returns:
        The table; rows that cannot be read are in its `problems`.

    Raises:
        EmptyDataset: the file is empty.
        BadRow: the file is not UTF-8, or a quotation mark never closes or closes within a cell; the message names the
            line.
        DataError: the file is not there, has an unknown ending, or is damaged.
    """
    if not path.is_file():
        siblings = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        what = "is a folder" if path.is_dir() else "is not there"
        raise DataError(f"Expected a file. Received: '{path}', which {what}. {choices_hint(path.name, siblings)}")
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    columns = columns or conll.ConllLayout()
    is_conll = columns.columns is not None or ending in conll.ENDINGS
    if not is_conll and ending not in _READERS:
        raise DataError(
            f"Expected a file that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} (each also with .gz). "
            f"Received: '{path.name}'."
        )
    if path.stat().st_size == 0:
        raise EmptyDataset(f"Expected a file with data. Received: '{path}', which is empty.")
    try:
        try:
            return _read_conll(path, columns) if is_conll else _READERS[ending](path)
        except UnicodeDecodeError as error:
            raise _not_utf8(path) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"Expected a whole gzip file. Received: '{path}', which cannot be unpacked: {error}. Fetch it again."
        ) from error
    except OSError as error:
        raise DataError(f"Expected a file that can be read. Received: '{path}': {error}") from error


def _read_delimited(path: Path, separator: str) -> Table:
    table = Table(f"'{path}'", pd.DataFrame(), "line")
    with _any_field_length(), _open_text(path) as stream:
        records = _csv_records(path, stream, separator)
        _, header = next(records, (1, None))
        if header is None:
            raise EmptyDataset(f"Expected a header and rows. Received: '{path}' with no columns.")
        table.frame = _collect(path, table, _fitting(records, header, table.problems), header)
    return table


def _csv_records(path: Path, stream: TextIO, separator: str) -> Iterator[Row]:
    """Yield each record that is not blank with the line where it starts; a quoted text may span lines."""
    at_the_end = False

    def lines() -> Iterator[str]:
        nonlocal at_the_end
        yield from stream
        at_the_end = True

    reader = csv.reader(lines(), delimiter=separator, strict=True)
    start = 1
    try:
        for fields in reader:
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        what = "and never closes" if at_the_end else f"and closes within a cell, at line {reader.line_num}"
        hint = _HINT_UNQUOTED if separator == "\t" else ""
        raise BadRow(
            f"Expected a table in '{path}'. Received: a quotation mark that opens in the row of line {start} {what}. "
            f"Mend that line; inside a quoted text, write a quotation mark twice.{hint}"
        ) from error


def _fitting(records: Iterable[Row], header: list[str], problems: list[tuple[int, str]]) -> Iterator[Row]:
    """Yield the records as wide as the header: missing cells at the end are None, text in further ones is a problem."""
    width = len(header)
    for line, fields in records:
        if len(fields) == width:
            yield line, fields
        elif any(cell.strip() for cell in fields[width:]):
            problems.append((line, f"{len(fields)} fields for {width} columns (quote a text with the separator in it)"))
        else:
            yield line, fields[:width] + [None] * (width - len(fields))


def _read_jsonl(path: Path) -> Table:
    table = Table(f"'{path}'", pd.DataFrame(), "line")
    with _open_text(path) as stream:
        table.frame = _collect(path, table, _json_objects(stream, table.problems), None)
    return table


def _json_objects(stream: TextIO, problems: list[tuple[int, str]]) -> Iterator[Row]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append((number, f"not a JSON object: {error}"))
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            problems.append((number, f"expected a JSON object, received {line.strip()[:40]!r}"))


def _read_parquet(path: Path) -> Table:
    import pyarrow

    try:
        if path.name.lower().endswith(".gz"):
            with gzip.open(path) as stream:
                frame = pd.read_parquet(stream)
        else:
            frame = pd.read_parquet(path)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"Expected a parquet file. Received: '{path}', which cannot be read: {error}") from error
    return Table(f"'{path}'", frame.reset_index(drop=True), "row", list(range(len(frame))))


def _read_conll(path: Path, columns: conll.ConllLayout) -> Table:
    layout = Layout(columns.token, None, columns.tag, "entities")
    table = Table(f"'{path}'", pd.DataFrame(), "line", layout=layout)
    with _open_text(path) as stream:
        table.frame = _collect(path, table, conll.conll_rows(stream, columns, table.problems), columns.names)
    return table


def _read_squad(path: Path) -> Table:
    table = Table(f"'{path}'", pd.DataFrame(), "", layout=_SQUAD)
    with _open_text(path) as stream:
        rows = squad.squad_rows(stream, table.name, table.problems)
        table.frame = _collect(path, table, rows, list(squad.COLUMNS))
    return table


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": lambda path: _read_delimited(path, ","),
    ".tsv": lambda path: _read_delimited(path, "\t"),
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".json": _read_squad,
}
ENDINGS = (*_READERS, *conll.ENDINGS)
"""The endings of files that can be read."""


def _collect(path: Path, table: Table, rows: Iterator[Row], columns: list[str] | None) -> pd.DataFrame:
    """Make the frame, a chunk at a time, and note the line of each row; for a large file, show the progress."""
    frames = [pd.DataFrame(columns=columns, dtype=object)]
    with _progress(path) as show:
        while chunk := list(itertools.islice(rows, _CHUNK_ROWS)):
            table.numbers += [line for line, _ in chunk]
            frames.append(pd.DataFrame([cells for _, cells in chunk], columns=columns, dtype=object))
            show(len(table.numbers))
    return pd.concat(frames[1:] or frames, ignore_index=True)


@contextlib.contextmanager
def _progress(path: Path) -> Iterator[Callable[[int], None]]:
    if path.stat().st_size < _PROGRESS_BYTES:
        yield lambda rows: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), transient=True) as progress:
        task = progress.add_task(f"Reading {path.name}")
        yield lambda rows: progress.update(task, description=f"Reading {path.name}: {rows:,} rows")


@contextlib.contextmanager
def _any_field_length() -> Iterator[None]:
    """Let a cell be longer than the 131,072 characters that the csv module stops at."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _open_text(path: Path) -> TextIO:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _not_utf8(path: Path) -> BadRow:
    """Find the first byte that is not UTF-8; the decoder of the first reading knows neither line nor column."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as problem:
                column = len(line[: problem.start].decode("utf-8-sig")) + 1
                return BadRow(
                    f"Expected UTF-8 text in '{path}'. Received: byte 0x{line[problem.start]:02x} at column {column} "
                    f"of line {number}. Save the file as UTF-8 (for example: iconv -f LATIN1 -t UTF-8)."
                )
    return BadRow(f"Expected UTF-8 text in '{path}'. Received: a file that ends inside a character.")
