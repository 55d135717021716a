"""Where rounding may decide: rows whose answer a SavedModel may give otherwise, and be right."""

import numpy as np
import tensorflow as tf

from tfllm.exporting.reload import Arrays, Request
from tfllm.tasks.base import Task
from tfllm.tasks.question_answerer import QuestionAnswerer
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.tasks.thresholds import DEFAULT_THRESHOLD
from tfllm.tasks.token_classifier import TokenClassifier

_CANDIDATE_TIE = 1e-4
"""How far tied candidates of a mask may be apart, as a share of their scores, which may all be small."""


def undecided(task: Task, request: Request, want: Arrays, got: Arrays, tolerance: float) -> np.ndarray:
    """Say of each row whether its two answers are equally good but for rounding.

    One label: its score and the best one, or the best one and the score of being out of scope, are within twice the
    tolerance. Several labels: each that is chosen once is as near to its threshold. Entities: those that differ overlap
    a word whose two best tags are. An answer: both were cut out of the context where they say, and the words are the
    same, or the scores, or whether there is one at all is open. A mask: candidates changed places where their scores
    tie.

    Args:
        task: the task.
        request: what was asked.
        want: the answers in Keras.
        got: the answers of the SavedModel, of the same shapes.
        tolerance: the largest difference of numbers that is allowed.

    Returns:
        bool `(batch,)`.
    """
    near = 2 * tolerance
    if "token" in want:
        return _tied_candidates(want, got, tolerance)
    if isinstance(task, QuestionAnswerer) and "answer" in want:
        return _tied_answers(task, request[1], want, got, near)
    if isinstance(task, TextClassifier) and "labels" in want:
        return _near_thresholds(task, want, got, near)
    if isinstance(task, TextClassifier) and "label" in want:
        return _tied_labels(task, want, got, near)
    if isinstance(task, TokenClassifier) and "entity" in want:
        (texts,) = request[1].values()
        return np.array([_tied_entities(task, text, want, got, row, near) for row, text in enumerate(texts)])
    return np.zeros(len(next(iter(want.values()))), bool)


def _tied_labels(task: TextClassifier, want: Arrays, got: Arrays, near: float) -> np.ndarray:
    """Whether the label is one of those with the best score, or out of scope where that is open."""
    scores, names = want["scores"], np.array([str(name).encode() for name in task.labels.names], object)
    best = scores.max(axis=1)
    fine = ((scores >= best[:, np.newaxis] - near) & (names == got["label"][:, np.newaxis])).any(axis=1)
    if task.out_of_scope is None:
        return fine
    name, threshold = task.out_of_scope[0].encode(), task.out_of_scope[1]
    outside = (want["label"] == name) | (got["label"] == name)
    return np.where(outside, (np.abs(best - threshold) <= near) & (fine | (got["label"] == name)), fine)


def _near_thresholds(task: TextClassifier, want: Arrays, got: Arrays, near: float) -> np.ndarray:
    thresholds = np.array(task.thresholds or [DEFAULT_THRESHOLD] * len(task.labels))
    return ((want["labels"] == got["labels"]) | (np.abs(want["scores"] - thresholds) <= near)).all(axis=1)


def _tied_entities(task: TokenClassifier, text: bytes, want: Arrays, got: Arrays, row: int, near: float) -> bool:
    """Whether each entity that one side alone has overlaps a word whose tag is open, or another one that does."""
    differ = _entities(want, row) ^ _entities(got, row)
    if not differ:
        return False
    words, scores = task.word_scores(lambda tokens: task(tokens, training=False), tf.constant([text]))
    best = tf.math.top_k(scores, 2).values.numpy()  # (words, 2)
    starts, ends = words.starts.flat_values.numpy(), words.ends.flat_values.numpy()
    open_words = [(int(starts[word]), int(ends[word])) for word in np.flatnonzero(best[:, 0] - best[:, 1] <= near)]
    places = [(start, end) for _, start, end in differ]
    at_one = [place for place in places if any(_overlap(place, word) for word in open_words)]
    return all(any(_overlap(place, other) for other in at_one) for place in places)


def _entities(side: Arrays, row: int) -> set[tuple[bytes, int, int]]:
    columns = (side[name][row][: side["count"][row]].tolist() for name in ("entity", "start", "end"))
    return set(zip(*columns, strict=True))


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _tied_answers(task: QuestionAnswerer, texts: Arrays, want: Arrays, got: Arrays, near: float) -> np.ndarray:
    """Whether both answers stand where they say, and are equally good: the same words, scores that tie, or none."""
    same = want["answer"] == got["answer"]
    fine = np.abs(want["score"] - got["score"]) <= near * np.where(same, 1.0, np.abs(want["score"]))
    refused = (want["answer"] == b"") != (got["answer"] == b"")
    if task.no_answer is not None and refused.any():
        margins = task.no_answer_margins(*(tf.constant(texts[name]) for name in task.input_names(pairs=True))).numpy()
        fine = np.where(refused, np.abs(margins - task.no_answer) <= near * max(1.0, abs(task.no_answer)), fine)
    for row, context in enumerate(texts["context"]):
        text = context.decode("utf-8", "replace")
        cut = (text[side["start"][row] : side["end"][row]].encode() == side["answer"][row] for side in (want, got))
        fine[row] &= all(cut)
    return fine


def _tied_candidates(want: Arrays, got: Arrays, tolerance: float) -> np.ndarray:
    """Whether each row's candidates for masks have changed places only where their scores tie."""
    tokens, scores, other = want["token"], want["score"], got["token"]
    close = -np.diff(scores, axis=-1) <= max(_CANDIDATE_TIE, tolerance) * scores[..., :-1]  # (batch, masks, k - 1)
    fine = tokens == other
    fine[..., 1:] |= close & (other[..., 1:] == tokens[..., :-1])
    fine[..., :-1] |= close & (other[..., :-1] == tokens[..., 1:])
    fine[..., -1] |= (other[..., -1:] != tokens).all(axis=-1)  # what it ties with was left out
    return fine.reshape(len(tokens), -1).all(axis=1)
