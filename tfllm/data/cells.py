"""A cell of a table as text."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

_SURROGATE = re.compile("[\ud800-\udfff]")
_SEVERAL_VALUES = (list, tuple, dict, set, np.ndarray)


def cell_text(cell: Any, convert: Callable[[object], str] = str) -> str:
    """Return a cell as text.

    Args:
        cell: the cell.
        convert: what makes text of its value.

    Raises:
        ValueError: it is missing, or more than one value.

    Example:
        >>> cell_text(b"5"), cell_text(5)
        ('5', '5')
    """
    text = convert(cell if isinstance(cell, str) else _one_value(cell))
    if not text or text.isspace():
        raise ValueError("no value")
    return without_lone_surrogates(text)


def is_missing(cell: Any) -> bool:
    """Whether a cell has no value: None, NaN, or text that is empty or white space alone."""
    if isinstance(cell, str):
        return not cell.strip()
    return not isinstance(cell, _SEVERAL_VALUES) and bool(pd.isna(cell))


def _one_value(cell: Any) -> Any:
    if isinstance(cell, _SEVERAL_VALUES):
        raise ValueError(f"a {type(cell).__name__} instead of one value")
    if isinstance(cell, bytes):
        try:
            return cell.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("bytes that are not UTF-8") from None
    return "" if pd.isna(cell) else cell


def without_lone_surrogates(text: str) -> str:
    """Join halves of a UTF-16 pair, and replace lone ones by U+FFFD: JSON can write them, UTF-8 cannot."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
