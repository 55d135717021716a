"""Load labelled text from files and tables: `load_dataset`."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfllm.data.conll import CONLLU_COLUMNS, ConllLayout
from tfllm.data.labels import label_text
from tfllm.data.readers import Table, read_table
from tfllm.data.schema import TextDataset, require_column, require_pair
from tfllm.data.tags import join_tokens, read_tags, require_tag_scheme, tagged_entities
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
    text_negative: str | None = None,
    label: str | None = "label",
    label_kind: str | None = None,
    columns: Sequence[str] | None = None,
    tag_scheme: str = "bio",
    skip_bad_rows: bool = False,
) -> TextDataset:
    """Load labelled text.

    Text is read as it stands: a cell that says `NA` or `null` is that word, not a missing value. Only an empty cell
    (or one of white space alone) is missing.

    Args:
        source: a `.csv`, `.tsv`, `.jsonl` or `.parquet` file, a CoNLL-style one (`.conll`, `.bio`, `.iob`, `.iob2`,
            `.conllu`) or a `.json` file of SQuAD, each also with `.gz`, or a pandas DataFrame. Files are UTF-8 (a byte
            order mark is fine).
        text: the column of the text.
        text_pair: the column of the second text of a pair, or None.
        text_negative: the column of a third text, which an embedder learns to keep apart from the first, or None.
        label: the column of the label, strings or whole numbers, or None if there is none.
        label_kind: what the label column holds: "label" (the default), "labels", "value", "entities" or "answers"; see
            `tfllm.data.targets.LABEL_KINDS`. CoNLL-style files hold "entities", those of SQuAD "answers".
        columns: the names of all columns of a CoNLL-style file, which may then have any ending; `text` and `label` are
            two of them. Without it the token stands first in a line, and its tag last.
        tag_scheme: how tags of tokens are written: "bio", "iob1", "bilou" or "plain"; see
            `tfllm.data.tags.TAG_SCHEMES`.
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
    if label_kind is not None:
        require_label_kind(label_kind)
    require_tag_scheme(tag_scheme)
    table = _table_of(source, _conll_layout(source, text, label, columns, tag_scheme))
    if table.layout is not None:
        text = table.layout.text if text == "text" else text
        label = table.layout.label if label == "label" else label
        text_pair = text_pair or table.layout.text_pair
    label_kind = label_kind or (table.layout.label_kind if table.layout else "label")
    require_pair(text_pair, text_negative)
    texts = [column for column in (text, text_pair, text_negative) if column is not None]
    rows = len(table.frame) + len(table.problems)
    if rows == 0:
        raise EmptyDataset(f"Expected at least one row of data in {table.name}. Received: none.")
    if len(table.frame.columns):  # a table without any has bad rows only
        for column in filter(None, (*texts, label)):
            require_column(table.frame, column, table.name)
    frame, problems = _checked(table, texts, label, label_kind, tag_scheme)
    skipped = rows - len(frame)
    if skipped and not skip_bad_rows:
        raise _bad_rows(table, problems, f"{skipped} bad of {rows} rows")
    if frame.empty:
        raise EmptyDataset(f"Expected at least one complete row in {table.name}. Received: {rows} bad rows.")
    name = f"{table.name} (without {skipped} bad rows)" if skipped else table.name
    named = {"text": text, "text_pair": text_pair, "text_negative": text_negative, "label": label}
    return TextDataset(frame, **named, label_kind=label_kind, source=name)


def _bad_rows(table: Table, problems: list[tuple[int, str]], count: str) -> BadRow:
    named = "; ".join(f"{table.unit} {place}: {problem}" for place, problem in sorted(problems)[:_ROWS_NAMED])
    return BadRow(
        f"Expected a value in every row of {table.name}. Received: {count}: {named}. "
        "Mend the rows, or leave them out with skip_bad_rows=True."
    )


def _conll_layout(
    source: object, text: str, label: str | None, columns: Sequence[str] | None, scheme: str
) -> ConllLayout:
    """Return which columns a CoNLL-style file has; `.conllu` files have those of Universal Dependencies."""
    if columns is not None:
        named = None if label is None else (columns[-1] if label == "label" and "label" not in columns else label)
        token = columns[0] if text == "text" and "text" not in columns else text
        return ConllLayout(token, named, tuple(columns), scheme)
    if str(source).lower().removesuffix(".gz").endswith(".conllu"):
        token, tag = ("form" if text == "text" else text), ("upos" if label == "label" else label)
        return ConllLayout(token, tag, CONLLU_COLUMNS, "plain", comments=True)
    return ConllLayout(text, label, None, scheme)


def _table_of(source: str | os.PathLike[str] | pd.DataFrame, columns: ConllLayout) -> Table:
    if isinstance(source, pd.DataFrame):
        return Table("the DataFrame", source.reset_index(drop=True), "row", list(range(len(source))))
    if isinstance(source, str | os.PathLike):
        return read_table(Path(source), columns)
    raise DataError(f"Expected a file or a pandas DataFrame. Received: a {type(source).__name__}.")


def _checked(
    table: Table, texts: list[str], label: str | None, label_kind: str, tag_scheme: str
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
                    cells.append(_cell_text(_joined(cell) if label_kind == "entities" else cell, str))
                elif label_kind == "label":
                    cells.append(_cell_text(cell, label_text))
                elif label_kind == "entities" and (tags := read_tags(cell)) is not None:
                    words = table.frame[texts[-1]][row]
                    cells.append(tagged_entities(tags, words, tag_scheme))
                else:  # spans point into the last of the texts
                    cells.append(read_target(label_kind, cell, converted[texts[-1]][row] or ""))
            except ValueError as error:
                cells.append(None)
                whole[row] = False
                problems.append((table.numbers[row], f"{error} in column '{column}'"))
        converted[column] = pd.Series(cells, dtype=object, index=table.frame.index)
    return table.frame.assign(**converted)[whole].reset_index(drop=True), problems


def _joined(cell: Any) -> Any:
    """Return a list of tokens as one text, and anything else as it is."""
    is_list = isinstance(cell, list | tuple | np.ndarray)
    return join_tokens(list(cell))[0] if is_list and all(isinstance(token, str) for token in cell) else cell


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
