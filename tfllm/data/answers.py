"""How well the text of an answer agrees with the right ones, as SQuAD measures it."""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = frozenset(string.punctuation)


def normalized_answer(text: str) -> str:
    """Return an answer in lower case, without ASCII punctuation, English articles and repeated white space.

    Example:
        >>> normalized_answer("The  Eiffel-Tower!")
        'eiffeltower'
    """
    lowered = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", lowered).split())


def squad_version(right: Sequence[Sequence[str]]) -> int:
    """Return whose rules hold for some questions: 1 (SQuAD 1.1) where all have an answer, else 2 (SQuAD 2.0).

    Args:
        right: the right answers to each question.

    Example:
        >>> squad_version([["1987"], []])
        2
    """
    return 1 if all(right) else 2


def exact_match(answer: str, right: Sequence[str], *, version: int = 2) -> float:
    """Return 1.0 if an answer is one of the right ones after normalisation, or else 0.0.

    Args:
        answer: the answer; empty for none.
        right: the right answers; none of them if the question has no answer.
        version: see `squad_version`. By the rules of version 2, a right answer of articles and punctuation is none.
    """
    return float(any(normalized_answer(answer) == normalized_answer(other) for other in _golds(right, version)))


def answer_f1(answer: str, right: Sequence[str], *, version: int = 2) -> float:
    """Return the best F1 over words between an answer and one of the right ones, 0 to 1.

    Args:
        answer: the answer; empty for none.
        right: the right answers; none of them if the question has no answer.
        version: see `squad_version`. By the rules of version 1, an answer without a word has an F1 of 0.

    Reference:
        Rajpurkar et al., 2016, "SQuAD", section 5; the rule for questions without an answer is that of version 2.0.

    Example:
        >>> round(answer_f1("the big red tower", ["red tower"]), 3)
        0.8
    """
    return max(_word_f1(answer, other, version) for other in _golds(right, version))


def _golds(right: Sequence[str], version: int) -> Sequence[str]:
    return right if version == 1 else [text for text in right if normalized_answer(text)] or [""]


def _word_f1(answer: str, right: str, version: int) -> float:
    found, wanted = normalized_answer(answer).split(), normalized_answer(right).split()
    if not found or not wanted:
        return float(version == 2 and found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def best_threshold(answers: Sequence[str], right: Sequence[Sequence[str]], margins: np.ndarray) -> float:
    """Return the threshold of no answer with the best mean F1.

    Args:
        answers: the best answer to each question, as if it had one.
        right: the right answers to each question; none if it has none.
        margins: how much more likely no answer is, float `(rows,)`; over the threshold, there is none.

    Example:
        >>> best_threshold(["x", "y", "z"], [["x"], [], ["z"]], np.array([-2.0, 1.0, -1.0]))
        0.0
    """
    with_answer = np.array([answer_f1(answer, golds) for answer, golds in zip(answers, right, strict=True)])
    without = np.array([answer_f1("", golds) for golds in right])
    order = np.argsort(margins, kind="stable")
    # After the first k rows in the order of their margins, which are answered, the others are not.
    gains = np.concatenate([[0.0], np.cumsum((with_answer - without)[order])])
    places = np.concatenate([[-np.inf], margins[order], [np.inf]])
    allowed = np.flatnonzero(places[:-1] < places[1:])  # rows of one margin are answered all or none
    best = allowed[np.argmax(gains[allowed])]
    low, high = places[best], places[best + 1]
    if np.isinf(low):
        return float(high) - 1.0
    return float(low) + 1.0 if np.isinf(high) else float(low + high) / 2
