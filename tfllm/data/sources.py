"""Load labelled text from files and tables: `load_dataset`."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfllm.data.labels import label_text
from tfllm.data.readers import Table, read_table
from tfllm.data.schema import TextDataset, require_column
from tfllm.data.targets import read_target, require_label_kind
from tfllm.errors import BadRow, DataError, EmptyDataset

_ROWS_NAMED = 5
_SURROGATE = re.compile("[\ud800-\udfff]")
_SEVERAL_VALUES = (list, tuple, dict, set, np.ndarray)


def load_dataset(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    text: str = "text",
    text_pair: str | None = None,
    label: str | None = "label",
    label_kind: str = "label",
    skip_bad_rows: bool = False,
) -> TextDataset:
    """Load labelled text.

    Text is read as it stands: a cell that says `NA` or `null` is that word, not a missing value. Only an empty cell
    (or one of white space alone) is missing.

    Args:
        source: a `.csv`, `.tsv`, `.jsonl` or `.parquet` file, each also with `.gz`, or a pandas DataFrame. Files are
            UTF-8 (a byte order mark is fine).
        text: the column of the text.
        text_pair: the column of the second text of a pair, or None.
        label: the column of the label, strings or whole numbers, or None if there is none.
        label_kind: what the label column holds: "label", "labels", "value", "entities" or "answers"; see
            `tfllm.data.targets.LABEL_KINDS`.
        skip_bad_rows: leave out rows that cannot be read, or have no text or label, instead of raising;
            `TextDataset.source` says how many.

    Returns:
        The rows, in order.

    Raises:
        MissingColumn: a named column is not there, or there twice.
        EmptyDataset: the file has no rows.
        BadRow: a row has no text or no label, or cannot be read; the message names file and line.
        DataError: the file is not there, has an unknown ending, or is damaged.

    Example:
        >>> frame = pd.DataFrame({"review": ["Loved it", "Never again"], "stars": [5, 1]})
        >>> load_dataset(frame, text="review", label="stars").class_counts
        {'1': 1, '5': 1}
    """
    require_label_kind(label_kind)
    table = _table_of(source)
    texts = [column for column in (text, text_pair) if column is not None]
    rows = len(table.frame) + len(table.problems)
    if rows == 0:
        raise EmptyDataset(f"Expected at least one row of data in {table.name}. Received: none.")
    if len(table.frame.columns):  # a table without any has bad rows only
        for column in filter(None, (*texts, label)):
            require_column(table.frame, column, table.name)
    frame, problems = _checked(table, texts, label, label_kind)
    skipped = rows - len(frame)
    if skipped and not skip_bad_rows:
        named = "; ".join(f"{table.unit} {place}: {problem}" for place, problem in sorted(problems)[:_ROWS_NAMED])
        raise BadRow(
            f"Expected a value in every row of {table.name}. Received: {skipped} bad of {rows} rows: {named}. "
            "Mend the rows, or leave them out with skip_bad_rows=True."
        )
    if frame.empty:
        raise EmptyDataset(f"Expected at least one complete row in {table.name}. Received: {rows} bad rows.")
    name = f"{table.name} (without {skipped} bad rows)" if skipped else table.name
    return TextDataset(frame, text=text, text_pair=text_pair, label=label, label_kind=label_kind, source=name)


def _table_of(source: str | os.PathLike[str] | pd.DataFrame) -> Table:
    if isinstance(source, pd.DataFrame):
        return Table("the DataFrame", source.reset_index(drop=True), "row", list(range(len(source))))
    if isinstance(source, str | os.PathLike):
        return read_table(Path(source))
    raise DataError(f"Expected a file or a pandas DataFrame. Received: a {type(source).__name__}.")


def _checked(
    table: Table, texts: list[str], label: str | None, label_kind: str
) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """Return the rows that are whole, with texts as str and labels read, and what is wrong with the others."""
    if not len(table.frame):
        return table.frame, table.problems
    whole = np.ones(len(table.frame), dtype=bool)
    problems = list(table.problems)
    converted: dict[str, pd.Series] = {}
    for column in [*texts, *([] if label is None else [label])]:
        cells: list[Any] = []
        for row, cell in enumerate(table.frame[column]):
            try:
                if column in texts:
                    cells.append(_cell_text(cell, str))
                elif label_kind == "label":
                    cells.append(_cell_text(cell, label_text))
                else:  # spans point into the last of the texts
                    cells.append(read_target(label_kind, cell, converted[texts[-1]][row] or ""))
            except ValueError as error:
                cells.append(None)
                whole[row] = False
                problems.append((table.numbers[row], f"{error} in column '{column}'"))
        converted[column] = pd.Series(cells, dtype=object, index=table.frame.index)
    return table.frame.assign(**converted)[whole].reset_index(drop=True), problems


def _cell_text(cell: Any, convert: Callable[[object], str]) -> str:
    """Return a cell as text.

    Raises:
        ValueError: it is missing, or more than one value.
    """
    text = convert(cell if isinstance(cell, str) else _one_value(cell))
    if not text or text.isspace():
        raise ValueError("no value")
    return _without_lone_surrogates(text)


def _one_value(cell: Any) -> Any:
    if isinstance(cell, _SEVERAL_VALUES):
        raise ValueError(f"a {type(cell).__name__} instead of one value")
    if isinstance(cell, bytes):
        try:
            return cell.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("bytes that are not UTF-8") from None
    return "" if pd.isna(cell) else cell


def _without_lone_surrogates(text: str) -> str:
    """Join halves of a UTF-16 pair, and replace lone ones by U+FFFD: JSON can write them, UTF-8 cannot."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
