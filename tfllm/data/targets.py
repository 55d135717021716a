"""What a cell of a label column means, for each kind of label."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfllm.data.cells import cell_text, is_missing
from tfllm.data.labels import label_text
from tfllm.data.squad import squad_span
from tfllm.errors import ConfigError, choices_hint

SEPARATOR = "|"
"""Between the labels of one cell, where a cell has several as plain text."""

_LISTS = (list, tuple, np.ndarray)

LABEL_KINDS = {
    "label": "one label a row",
    "labels": (
        f"any number of labels a row (lists, JSON lists, or labels with '{SEPARATOR}' between them; "
        "an empty text for none)"
    ),
    "value": "one number a row",
    "entities": "entities (lists of [start, end, entity], in code points of the text; or one tag for each word)",
    "answers": "answers (lists of [start, end], in code points of the context, or as in SQuAD; an empty list for none)",
}
"""What a label column can hold: kind -> what each cell is."""


def require_label_kind(kind: str) -> None:
    """Raise `ConfigError`, naming the kinds, unless there is such a kind of label."""
    if kind not in LABEL_KINDS:
        raise ConfigError(f"Expected a kind of label. Received: label_kind={kind!r}. {choices_hint(kind, LABEL_KINDS)}")


def read_target(kind: str, cell: Any, text: str) -> Any:
    """Return what a cell of the label column means.

    Args:
        kind: one of `LABEL_KINDS`.
        cell: the cell; lists may be written as JSON. An empty text means no label for "labels" alone; none of the
            entities or answers is an empty list.
        text: the text that spans point into.

    Returns:
        str for "label", float for "value", a list of str for "labels", a list of `(start, end, entity)` or
        `(start, end)` tuples for "entities" and "answers", in the order of their starts.

    Raises:
        ValueError: the cell does not hold that; the message says what is wrong.

    Example:
        >>> read_target("labels", "price|service", "")
        ['price', 'service']
        >>> read_target("entities", "[[3, 8, \\"city\\"]]", "In Paris")
        [(3, 8, 'city')]
    """
    return _READERS[kind](cell, text)


def _label(cell: Any, text: str) -> str:
    return cell_text(cell, label_text)


def _labels(cell: Any, text: str) -> list[str]:
    if isinstance(cell, str) and not cell.lstrip().startswith("["):
        parts = [part.strip() for part in cell.split(SEPARATOR)]
        return [] if parts == [""] else [_label(part, text) for part in parts]
    return [_label(part, text) for part in _items(cell)]


def _value(cell: Any, text: str) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise ValueError(f"{cell!r:.40} instead of a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{value} instead of a finite number")
    return value


def _entities(cell: Any, text: str) -> list[tuple[int, int, str]]:
    found = []
    for item in _items(cell):
        start, end, entity = _fields(item, ("start", "end", "entity"))
        found.append((*_span(start, end, text), _label(entity, text)))
    found.sort()
    for before, after in zip(found, found[1:], strict=False):
        if after[0] < before[1]:
            raise ValueError(f"entities {list(before)} and {list(after)} overlap")
    return found


def _answers(cell: Any, text: str) -> list[tuple[int, int]]:
    if isinstance(cell, str) and not cell.lstrip().startswith(("[", "{")):
        return [_only_place(cell, text)] if cell.strip() else _items(cell)
    if isinstance(cell, str) and cell.lstrip().startswith("{"):
        cell = _parsed(cell)
    if isinstance(cell, dict):
        cell = _answers_of_lists(cell)
    return [
        squad_span(item, text)
        if isinstance(item, dict) and "answer_start" in item
        else _span(*_fields(item, ("start", "end")), text)
        for item in _items(cell)
    ]


def _answers_of_lists(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the answers of two lists, as Hugging Face's tables write SQuAD."""
    texts, starts = _fields(cell, ("text", "answer_start"))
    if not all(isinstance(values, _LISTS) for values in (texts, starts)) or len(texts) != len(starts):
        raise ValueError(f"{cell!r:.60} instead of two lists of one length, text and answer_start")
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]


def _only_place(answer: str, context: str) -> tuple[int, int]:
    """Return where an answer stands that has no place of its own."""
    times = context.count(answer)
    if times != 1:
        raise ValueError(f"the answer {answer!r:.40}, which the context has {times} times: give [start, end]")
    start = context.index(answer)
    return start, start + len(answer)


def _items(cell: Any) -> list[Any]:
    if is_missing(cell):
        raise ValueError("no value; write [] for none")
    if isinstance(cell, str):
        cell = _parsed(cell)
    if not isinstance(cell, _LISTS):
        raise ValueError(f"{cell!r:.40} instead of a list")
    return list(cell)


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise ValueError(f"{cell!r:.40} instead of a JSON list") from None


def _fields(item: Any, names: tuple[str, ...]) -> list[Any]:
    values = [item.get(name) for name in names] if isinstance(item, dict) else item
    if not isinstance(values, _LISTS) or len(values) != len(names) or any(value is None for value in values):
        raise ValueError(f"{item!r:.60} instead of [{', '.join(names)}]")
    return list(values)


def _span(start: Any, end: Any, text: str) -> tuple[int, int]:
    if not all(isinstance(place, int | np.integer) and not isinstance(place, bool) for place in (start, end)):
        raise ValueError(f"[{start!r}, {end!r}] instead of two whole numbers")
    if not 0 <= start < end <= len(text):
        raise ValueError(f"[{start}, {end}] outside of a text of {len(text)} characters")
    return int(start), int(end)


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "label": _label,
    "labels": _labels,
    "value": _value,
    "entities": _entities,
    "answers": _answers,
}
