"""Read questions with answers in the JSON of SQuAD, versions 1.1 and 2.0."""

import json
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np

from tfllm.errors import BadRow

COLUMNS = ("id", "title", "question", "context", "answers")
"""The columns of the table that is read."""


def squad_rows(stream: TextIO, name: str, problems: list[tuple[str, str]]) -> Iterator[tuple[str, list[Any]]]:
    """Yield each question with its place.

    Args:
        stream: the file.
        name: what messages call it.
        problems: gets the place, and what is wrong, of each question, paragraph and article that cannot be used.

    Yields:
        The place, such as "question 17" by its id, and one cell for each of `COLUMNS`; `answers` are all right answers
        as `(start, end)` in code points of the context, an empty list where there is none.

    Raises:
        BadRow: the file is not JSON, or not laid out as SQuAD is.

    Reference:
        Rajpurkar et al., 2016, "SQuAD"; Rajpurkar et al., 2018, "Know what you don't know" (version 2.0).
    """
    try:
        content = json.load(stream)
    except json.JSONDecodeError as error:
        raise BadRow(f"Expected JSON in {name}. Received, at line {error.lineno}: {error.msg}.") from error
    except RecursionError as error:
        raise BadRow(f"Expected the layout of SQuAD in {name}. Received: lists nested too deeply.") from error
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise BadRow(
            f"Expected the layout of SQuAD in {name}: an object with data, a list of articles. "
            f"Received: {_shown(content)}."
        )
    for number, article in enumerate(content["data"]):
        title = article.get("title") or number if isinstance(article, dict) else number
        where = f"article {title!r}"
        try:
            paragraphs = _part(article, "paragraphs", list)
        except ValueError as error:
            problems.append((where, str(error)))
            continue
        for position, paragraph in enumerate(paragraphs):
            yield from _questions(paragraph, article.get("title", ""), f"paragraph {position} of {where}", problems)


def _questions(
    paragraph: Any, title: str, where: str, problems: list[tuple[str, str]]
) -> Iterator[tuple[str, list[Any]]]:
    try:
        context, entries = _part(paragraph, "context", str), _part(paragraph, "qas", list)
    except ValueError as error:
        problems.append((where, str(error)))
        return
    for position, entry in enumerate(entries):
        name = entry.get("id") if isinstance(entry, dict) else None
        name = str(name or f"{position} in {where}")
        try:
            question, answers = _question(entry, context)
        except ValueError as error:
            problems.append((f"question {name}", str(error)))
        else:
            yield f"question {name}", [name, title, question, context, answers]


def _question(entry: Any, context: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a question and its answers."""
    question = _part(entry, "question", str)
    answers = [] if entry.get("is_impossible") else _part(entry, "answers", list)
    if not answers and "is_impossible" not in entry:
        raise ValueError("no answer, and no is_impossible to say that there is none")
    return question, [squad_span(answer, context) for answer in answers]


def _part(whole: Any, name: str, kind: type) -> Any:
    """Return a value of an object of the file.

    Raises:
        ValueError: it is not there, or of another kind.
    """
    if not isinstance(whole, dict):
        raise ValueError(f"{_shown(whole)} instead of an object with {name}")
    if name not in whole:
        raise ValueError(f"no '{name}'")
    if not isinstance(whole[name], kind):
        raise ValueError(f"{_shown(whole[name])} instead of {'a list' if kind is list else 'text'} as '{name}'")
    return whole[name]


def _shown(value: Any) -> str:
    """Return a value as messages show it; it may be a whole file."""
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, list(value)[:5])) or 'nothing'}"
    return f"a list of {len(value)}" if isinstance(value, list) else f"{value!r:.60}"


def squad_span(answer: Any, context: str) -> tuple[int, int]:
    """Return start and end of an answer written as `{"text": ..., "answer_start": ...}`.

    Raises:
        ValueError: the context has another text there.

    Example:
        >>> squad_span({"text": "Paris", "answer_start": 3}, "In Paris")
        (3, 8)
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("text"), str) or not answer["text"]:
        raise ValueError(f"{answer!r:.60} instead of an answer with text and answer_start")
    text, start = answer["text"], answer.get("answer_start")
    if isinstance(start, bool) or not isinstance(start, int | np.integer) or start < 0:
        raise ValueError(f"answer_start {start!r} of the answer {text!r:.40} instead of a whole number")
    start = int(start)
    found = context[start : start + len(text)]
    if found != text:
        place = context.find(text)
        hint = f"; it stands at {place}" if place >= 0 else "; it is nowhere in the context"
        raise ValueError(f"answer_start {start} of the answer {text!r:.40}, where the context has {found!r:.40}{hint}")
    return start, start + len(text)
