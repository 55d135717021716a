"""Load labelled text from files and tables: `load_dataset`."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from tfllm.data.cells import cell_text
from tfllm.data.conll import CONLLU_COLUMNS, ConllLayout
from tfllm.data.labels import label_text
from tfllm.data.readers import Table, read_table
from tfllm.data.schema import TextDataset, require_column, require_pair
from tfllm.data.tags import join_tokens, read_tags, read_tokens, require_tag_scheme, tagged_entities
from tfllm.data.targets import read_target, require_label_kind
from tfllm.errors import BadRow, ConfigError, DataError, EmptyDataset

_ROWS_NAMED = 5
_POINTING = ("entities", "answers")
"""Kinds of labels that point into the last of the texts."""


class Tabular(Protocol):
    """A table of another library: a `Dataset` of Hugging Face, a `Table` of pyarrow."""

    def to_pandas(self) -> pd.DataFrame:
        """Return it as a DataFrame."""


def load_dataset(
    source: str | os.PathLike[str] | pd.DataFrame | Tabular,
    *,
    text: str = "text",
    text_pair: str | None = None,
    text_negative: str | None = None,
    label: str | None = "label",
    label_kind: str | None = None,
    columns: Sequence[str] | None = None,
    tag_scheme: str | None = None,
    skip_bad_rows: bool = False,
) -> TextDataset:
    """Load labelled text.

    Text is read as it stands: a cell that says `NA` or `null` is that word, not a missing value. Only an empty cell
    (or one of white space alone) is missing. As a list of labels (`label_kind="labels"`) it means that there are none;
    that a text has no entities, or a question no answer, is written as an empty list, `[]`.

    Args:
        source: a `.csv`, `.tsv`, `.jsonl` or `.parquet` file, a CoNLL-style one (`.conll`, `.bio`, `.iob`, `.iob2`,
            `.conllu`) or a `.json` file of SQuAD, each also with `.gz`; a pandas DataFrame, or a table with a method
            `to_pandas`, such as a `Dataset` of Hugging Face. Files are UTF-8 (a byte order mark is fine).
        text: the column of the text.
        text_pair: the column of the second text of a pair, or None.
        text_negative: the column of a third text, which an embedder learns to keep apart from the first, or None.
        label: the column of the label, strings or whole numbers, or None if there is none.
        label_kind: what the label column holds: "label" (the default), "labels", "value", "entities" or "answers"; see
            `tfllm.data.targets.LABEL_KINDS`. CoNLL-style files hold "entities", those of SQuAD "answers".
        columns: the names of all columns of a CoNLL-style file, which may then have any ending; `text` and `label` are
            two of them. Without it the token stands first in a line, and its tag last.
        tag_scheme: how tags of tokens are written: "bio" (the default), "iob1", "bilou" or "plain" (that of `.conllu`
            files); see `tfllm.data.tags.TAG_SCHEMES`.
        skip_bad_rows: leave out rows that cannot be read, or have no text or label, instead of raising;
            `TextDataset.source` says how many.

    Returns:
        The rows, in order.

    Raises:
        MissingColumn: a named column is not there, or there twice.
        EmptyDataset: the file has no rows.
        BadRow: a row has no text or no label, or cannot be read; the message names file and line.
        DataError: the file is not there, has an unknown ending, or is damaged.
        ConfigError: an argument cannot be right, such as `columns` beside a table, or "answers" without `text_pair`.

    Example:
        >>> frame = pd.DataFrame({"review": ["Loved it", "Never again"], "stars": [5, 1]})
        >>> load_dataset(frame, text="review", label="stars").class_counts
        {'1': 1, '5': 1}
    """
    if label_kind is not None:
        require_label_kind(label_kind)
    if tag_scheme is not None:
        require_tag_scheme(tag_scheme)
    table = _table_of(source, text, label, columns, tag_scheme)
    if table.layout is not None:
        text = table.layout.text if text == "text" else text
        label = table.layout.label if label == "label" else label
        text_pair = text_pair or table.layout.text_pair
    label_kind = label_kind or (table.layout.label_kind if table.layout else "label")
    require_pair(text_pair, text_negative)
    _require_context(label_kind, label, text_pair)
    texts = [column for column in (text, text_pair, text_negative) if column is not None]
    rows = len(table.frame) + len(table.problems)
    if rows == 0:
        raise EmptyDataset(f"Expected at least one row of data in {table.name}. Received: none.")
    if len(table.frame.columns) or len(table.frame):  # a table with neither has bad rows only
        for column in filter(None, (*texts, label)):
            require_column(table.frame, column, table.name)
    frame, problems = _checked(table, texts, label, label_kind, tag_scheme or "bio")
    skipped = rows - len(frame)
    if skipped and not skip_bad_rows:
        raise _bad_rows(table, problems, f"{skipped} bad of {rows} rows")
    if frame.empty:
        raise EmptyDataset(f"Expected at least one complete row in {table.name}. Received: {rows} bad rows.")
    name = f"{table.name} (without {skipped} bad rows)" if skipped else table.name
    named = {"text": text, "text_pair": text_pair, "text_negative": text_negative, "label": label}
    return TextDataset(frame, **named, label_kind=label_kind, source=name)


def _bad_rows(table: Table, problems: list[tuple[int, str]], count: str) -> BadRow:
    named = "; ".join(f"{table.unit} {place}: {problem}".lstrip() for place, problem in sorted(problems)[:_ROWS_NAMED])
    return BadRow(
        f"Expected a value in every row of {table.name}. Received: {count}: {named}. "
        "Mend the rows, or leave them out with skip_bad_rows=True."
    )


def _table_of(source: object, text: str, label: str | None, columns: Sequence[str] | None, scheme: str | None) -> Table:
    if isinstance(source, str | os.PathLike):
        return read_table(Path(source), _conll_layout(source, text, label, columns, scheme))
    name = f"the {type(source).__name__}"
    if columns is not None:
        raise ConfigError(
            f"Expected columns= beside a CoNLL-style file alone. Received: columns={list(columns)} beside {name}, "
            "whose columns have names. Leave it out."
        )
    frame = source.to_pandas() if hasattr(source, "to_pandas") else source
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            "Expected a file, a pandas DataFrame, or a table with to_pandas(). "
            f"Received: a {type(source).__name__}. Make a table of it: pandas.DataFrame(rows)."
        )
    return Table(name, frame.reset_index(drop=True), "row", list(range(len(frame))))


def _conll_layout(
    source: str | os.PathLike[str], text: str, label: str | None, columns: Sequence[str] | None, scheme: str | None
) -> ConllLayout:
    """Return which columns a CoNLL-style file has; `.conllu` files have those of Universal Dependencies."""
    if columns is not None:
        named = None if label is None else (columns[-1] if label == "label" and "label" not in columns else label)
        token = columns[0] if text == "text" and "text" not in columns else text
        return ConllLayout(token, named, tuple(columns), scheme or "bio")
    if str(source).lower().removesuffix(".gz").endswith(".conllu"):
        token, tag = ("form" if text == "text" else text), ("upos" if label == "label" else label)
        return ConllLayout(token, tag, CONLLU_COLUMNS, scheme or "plain", comments=True)
    return ConllLayout(text, label, None, scheme or "bio")


def _require_context(label_kind: str, label: str | None, text_pair: str | None) -> None:
    if label_kind == "answers" and label is not None and text_pair is None:
        raise ConfigError(
            'Expected text_pair= beside label_kind="answers". Received: none. Name the column of the context that the '
            "answers stand in."
        )


def _checked(
    table: Table, texts: list[str], label: str | None, label_kind: str, tag_scheme: str
) -> tuple[pd.DataFrame, list[tuple[Any, str]]]:
    """Return the rows that are whole, with texts as str and labels read, and what is wrong with the others."""
    frame = table.frame
    if not len(frame):
        return frame, table.problems
    whole = np.ones(len(frame), dtype=bool)
    problems = list(table.problems)

    def read(column: str, read_cell: Callable[[int, Any], Any]) -> pd.Series:
        cells: list[Any] = []
        for row, cell in enumerate(frame[column]):
            try:
                cells.append(read_cell(row, cell))
            except ValueError as error:
                cells.append(None)
                whole[row] = False
                problems.append((table.numbers[row], f"{error} in column '{column}'"))
        return pd.Series(cells, dtype=object, index=frame.index)

    tags = list(frame[label]) if label is not None and label_kind == "entities" else [None] * len(frame)

    def read_text(row: int, cell: Any) -> str:
        tokens = read_tokens(cell, tags[row]) if label_kind == "entities" else None
        return cell_text(cell if tokens is None else join_tokens(tokens)[0])

    converted = {column: read(column, read_text) for column in texts}
    if label is not None:
        read_label = _label_reader(label_kind, list(frame[texts[-1]]), converted[texts[-1]].tolist(), tag_scheme)
        converted[label] = read(label, read_label)
    return frame.assign(**converted)[whole].reset_index(drop=True), problems


def _label_reader(
    label_kind: str, cells: list[Any], texts: list[str | None], tag_scheme: str
) -> Callable[[int, Any], Any]:
    """Return what reads the label of a row.

    Args:
        label_kind: what the cells hold.
        cells: the cell of the text that labels point into, of each row.
        texts: that text, or None where it cannot be read.
        tag_scheme: how tags are written.
    """

    def read_label(row: int, cell: Any) -> Any:
        if label_kind == "label":
            return cell_text(cell, label_text)
        text = texts[row]
        if text is None:  # the row is named for its text already
            return None if label_kind in _POINTING else read_target(label_kind, cell, "")
        if label_kind == "entities" and (tags := read_tags(cell)) is not None:
            cell = tagged_entities(tags, read_tokens(cells[row], cell) or text, tag_scheme)
        return read_target(label_kind, cell, text)

    return read_label
