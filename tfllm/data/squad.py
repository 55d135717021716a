"""Read questions with answers in the JSON of SQuAD, versions 1.1 and 2.0."""

import json
from collections.abc import Iterator
from typing import Any, TextIO

from tfllm.errors import BadRow

COLUMNS = ("id", "title", "question", "context", "answers")
"""The columns of the table that is read."""


def squad_rows(stream: TextIO, name: str, problems: list[tuple[str, str]]) -> Iterator[tuple[str, list[Any]]]:
    """Yield each question with its id.

    Args:
        stream: the file.
        name: what messages call it.
        problems: gets the id, and what is wrong, of each question that cannot be used.

    Yields:
        The id, and one cell for each of `COLUMNS`; `answers` are all right answers as `(start, end)` in code points of
        the context, an empty list where there is none.

    Raises:
        BadRow: the file is not JSON, or not laid out as SQuAD is.

    Reference:
        Rajpurkar et al., 2016, "SQuAD"; Rajpurkar et al., 2018, "Know what you don't know" (version 2.0).
    """
    try:
        articles = json.load(stream)["data"]
        for article in articles:
            for number, paragraph in enumerate(article["paragraphs"]):
                where = f"paragraph {number} of '{article.get('title', '')}'"
                yield from _questions(paragraph, article.get("title", ""), where, problems)
    except json.JSONDecodeError as error:
        raise BadRow(f"Expected JSON in {name}. Received, at line {error.lineno}: {error.msg}.") from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRow(
            f"Expected the layout of SQuAD in {name}: data, paragraphs, context, qas. "
            f"Received: {type(error).__name__} {error}."
        ) from error


def _questions(
    paragraph: dict[str, Any], title: str, where: str, problems: list[tuple[str, str]]
) -> Iterator[tuple[str, list[Any]]]:
    context = paragraph["context"]
    for position, entry in enumerate(paragraph["qas"]):
        name = entry.get("id") if isinstance(entry, dict) else None
        place = str(name or f"{position} in {where}")
        try:
            question, answers = _question(entry, context)
        except KeyError as error:
            problems.append((place, f"no {error}"))
        except ValueError as error:
            problems.append((place, str(error)))
        else:
            yield place, [place, title, question, context, answers]


def _question(entry: Any, context: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a question and its answers."""
    if not isinstance(entry, dict):
        raise ValueError(f"{entry!r:.60} instead of an object with id, question and answers")
    question, answers = entry["question"], [] if entry.get("is_impossible") else entry["answers"]
    if not isinstance(question, str):
        raise ValueError(f"{question!r:.60} instead of the text of a question")
    if not isinstance(answers, list):
        raise ValueError(f"{answers!r:.60} instead of a list of answers")
    if not answers and "is_impossible" not in entry:
        raise ValueError("no answer, and no is_impossible to say that there is none")
    return question, [squad_span(answer, context) for answer in answers]


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
    if isinstance(start, bool) or not isinstance(start, int) or start < 0:
        raise ValueError(f"answer_start {start!r} of the answer {text!r:.40} instead of a whole number")
    found = context[start : start + len(text)]
    if found != text:
        place = context.find(text)
        hint = f"; it stands at {place}" if place >= 0 else "; it is nowhere in the context"
        raise ValueError(f"answer_start {start} of the answer {text!r:.40}, where the context has {found!r:.40}{hint}")
    return start, start + len(text)
