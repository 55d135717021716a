"""Tables on disk, read and written a piece at a time: csv, tsv, jsonl, parquet; the first three also with .gz.

The standard library reads and writes text; pyarrow is loaded for parquet only.
"""

import contextlib
import csv
import gzip
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from tfllm.errors import BadRow, ConfigError, DataError

Row = dict[str, Any]

_FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
_BATCH_ROWS = 4096
_LONGEST_FIELD = 2**31 - 1
_JSONL = "Write to .jsonl, which has place for any."


def format_of(path: Path) -> str:
    """Return the format of a file by its name: `.csv`, `.tsv`, `.jsonl` or `.parquet`.

    Raises:
        ConfigError: the name ends in none of them.

    Example:
        >>> format_of(Path("rows.CSV.gz"))
        '.csv'
    """
    name = path.name.lower()
    ending = Path(name.removesuffix(".gz")).suffix
    if ending not in _FORMATS or (ending == ".parquet" and name.endswith(".gz")):
        raise ConfigError(f"Expected a file that ends in {', '.join(_FORMATS)} (text also .gz). Received: '{path}'.")
    return ending


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, in constant memory.

    Raises:
        DataError: the file is not there, or is damaged.
        BadRow: a row cannot be read; the message names the line.
    """
    ending = format_of(path)
    try:
        if ending == ".parquet":
            yield from _read_parquet(path)
        else:
            with _open_text(path, "r") as lines:
                yield from _read_jsonl(path, lines) if ending == ".jsonl" else _read_csv(path, lines, ending)
    except UnicodeDecodeError as error:
        raise BadRow(f"Expected UTF-8. Received: '{path}' with other bytes ({error}).") from error
    except (OSError, EOFError) as error:
        raise DataError(f"Expected a file that can be read. Received: '{path}' ({error}).") from error


def count_rows(path: Path) -> int | None:
    """Return how many rows a file has, where the file says so."""
    return int(_parquet().ParquetFile(path).metadata.num_rows) if format_of(path) == ".parquet" else None


def write_part(path: Path, ending: str, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write some rows to a file of their own, wholly or not at all; without a header.

    Args:
        path: the file.
        ending: its format.
        rows: the rows; a value that a row lacks is an empty cell, in parquet null.
        columns: the columns of csv and tsv.

    Raises:
        DataError: a row has a column that csv or tsv have no place for, because the first row had none; or parquet has
            no type for the values of a column.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    if ending == ".parquet":
        _write_parquet(unfinished, rows)
    else:
        with open(unfinished, "w", encoding="utf-8", newline="") as file:
            if ending == ".jsonl":
                file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
            else:
                writer = csv.writer(file, "excel" if ending == ".csv" else "excel-tab")
                writer.writerows(_cells(row, columns) for row in rows)
    os.replace(unfinished, path)


def join_parts(parts: Sequence[Path], out: Path, columns: Sequence[str]) -> None:
    """Write parts to one file, wholly or not at all, in constant memory.

    Args:
        parts: the files of `write_part`, in order.
        out: the file to write.
        columns: the header, for csv and tsv.

    Raises:
        DataError: the parts have values of a column that no type of parquet fits.
    """
    unfinished = out.with_name("unfinished." + out.name)
    if format_of(out) == ".parquet":
        _join_parquet(parts, unfinished)
    else:
        with _open_text(unfinished, "w") as file:
            if format_of(out) != ".jsonl":
                csv.writer(file, "excel" if format_of(out) == ".csv" else "excel-tab").writerow(columns)
            for part in parts:
                with open(part, encoding="utf-8", newline="") as rows:
                    shutil.copyfileobj(rows, file)
    os.replace(unfinished, out)


@contextlib.contextmanager
def _open_text(path: Path, mode: Literal["r", "w"]) -> Iterator[IO[str]]:
    encoding = "utf-8-sig" if mode == "r" else "utf-8"
    with contextlib.ExitStack() as stack:
        if not path.name.lower().endswith(".gz"):
            yield stack.enter_context(open(path, mode, encoding=encoding, newline=""))
        elif mode == "r":
            yield stack.enter_context(gzip.open(path, "rt", encoding=encoding, newline=""))
        else:  # without name and time in its head, so that equal rows make equal files
            raw = stack.enter_context(open(path, "wb"))
            packed = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
            yield stack.enter_context(io.TextIOWrapper(packed, encoding=encoding, newline=""))


def _read_csv(path: Path, lines: IO[str], ending: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(lines, "excel" if ending == ".csv" else "excel-tab", strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise DataError(f"Expected a header. Received: '{path}', which is empty.")
        if twice := sorted({name for name in header if name and header.count(name) > 1}):
            raise DataError(f"Expected columns of different names. Received: '{path}' with {twice} more than once.")
        nameless = header.count("") > 1  # empty columns at the end, as spreadsheets write them
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise BadRow(
                    f"Expected {len(header)} columns. Received: {len(cells)} in '{path}', line {reader.line_num}."
                )
            if nameless and any(cell for name, cell in zip(header, cells, strict=True) if not name):
                raise BadRow(f"Expected a name for each column. Received: none, in '{path}', line {reader.line_num}.")
            yield {name: cell for name, cell in zip(header, cells, strict=True) if name or not nameless}
    except csv.Error as error:
        raise BadRow(
            f"Expected a row of {ending[1:]}. Received: '{path}', line {reader.line_num} ({error})."
        ) from error


def _read_jsonl(path: Path, lines: IO[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadRow(f"Expected a JSON object. Received: '{path}', line {number} ({error}).") from error
        if not isinstance(row, dict):
            raise BadRow(f"Expected a JSON object. Received: '{path}', line {number}, a {type(row).__name__}.")
        yield row


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        with _parquet().ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield from batch.to_pylist()
    except _arrow().ArrowInvalid as error:
        raise DataError(f"Expected a parquet file that can be read. Received: '{path}' ({error}).") from error


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Write rows with the columns that any of them has."""
    arrow, parquet = _arrow(), _parquet()
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column(arrow, name, [row.get(name) for row in rows]) for name in names}
    try:
        parquet.write_table(arrow.table(columns), path)
    except arrow.ArrowException as error:
        raise DataError(f"Expected values that parquet can hold. Received: {_reason(error)}. {_JSONL}") from error


def _column(arrow: Any, name: str, values: list[Any]) -> Any:
    try:
        return arrow.array(values)
    except (arrow.ArrowException, OverflowError) as error:
        raise DataError(
            f"Expected values of one type in column '{name}'. Received: {_reason(error)}. {_JSONL}"
        ) from error


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _join_parquet(parts: Sequence[Path], out: Path) -> None:
    """Write the parts as the row groups of one file, with the types that fit all of them."""
    arrow, parquet = _arrow(), _parquet()
    try:
        schema = arrow.unify_schemas([parquet.read_schema(part) for part in parts], promote_options="permissive")
        with parquet.ParquetWriter(out, schema) as writer:
            for part in parts:
                table = parquet.read_table(part)
                missing = [field for field in schema if field.name not in table.column_names]
                for field in missing:
                    table = table.append_column(field, arrow.nulls(len(table), field.type))
                writer.write_table(table.select(schema.names).cast(schema))
    except arrow.ArrowException as error:
        raise DataError(
            f"Expected values of one type in each column, in all parts. Received: {_reason(error)}. {_JSONL}"
        ) from error


def _cells(row: Row, columns: Sequence[str]) -> list[object]:
    if further := [name for name in row if name not in columns]:
        raise DataError(
            f"Expected the columns of the first row ({', '.join(columns)}). Received: a row with {', '.join(further)}. "
            "Write to .jsonl or .parquet, which have place for them."
        )
    return [_cell(row.get(name)) for name in columns]


def _cell(value: object) -> object:
    """Return a value as one cell; lists and mappings as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | Mapping) else value


def _arrow() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise ImportError(
            "Parquet files need the package 'pyarrow', which is not installed. "
            "Install it with: pip install 'tfllm[parquet]'",
            name="pyarrow",
        ) from error
    return pyarrow


def _parquet() -> Any:
    _arrow()
    import pyarrow.parquet

    return pyarrow.parquet
