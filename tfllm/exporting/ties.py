"""Where rounding may decide: rows whose answer a SavedModel may give otherwise, and be right."""

import numpy as np
import tensorflow as tf

from tfllm.exporting.reload import Arrays, Request
from tfllm.tasks.base import Task
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.tasks.thresholds import DEFAULT_THRESHOLD
from tfllm.tasks.token_classifier import TokenClassifier

_CANDIDATE_TIE = 1e-4
"""How far tied candidates of a mask may be apart, as a share of their scores, which may all be small."""


def undecided(task: Task, request: Request, want: Arrays, got: Arrays, tolerance: float) -> np.ndarray:
    """Say of each row whether its two answers are equally good but for rounding.

    One label: the two best scores, or the best one and the score of being out of scope, are within twice the
    tolerance. Several labels: each that is chosen once is as near to its threshold. Entities: so are the two best tags
    of some token. An answer: both were cut out of the context where they say, and the words are the same, or the
    scores. A mask: candidates changed places where their scores tie.

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
    if "answer" in want:
        return _tied_spans(request[1]["context"], want, got, near)
    if isinstance(task, TextClassifier) and "labels" in want:
        return _near_thresholds(task, want, got, near)
    if isinstance(task, TextClassifier) and "label" in want:
        return _close_scores(task, want, near)
    if isinstance(task, TokenClassifier) and "entity" in want:
        (texts,) = request[1].values()
        differ = (want["entity"] != got["entity"]).any(axis=1) | (want["end"] != got["end"]).any(axis=1)
        differ |= (want["start"] != got["start"]).any(axis=1)
        return np.array([other and _tag_margin(task, text) <= near for other, text in zip(differ, texts, strict=True)])
    return np.zeros(len(next(iter(want.values()))), bool)


def _close_scores(task: TextClassifier, want: Arrays, near: float) -> np.ndarray:
    best = np.sort(want["scores"], axis=1)[:, -2:]
    close = best[:, -1] - best[:, 0] <= near if best.shape[1] > 1 else np.zeros(len(best), bool)
    if task.out_of_scope is not None:
        close |= np.abs(best[:, -1] - task.out_of_scope[1]) <= near
    return close


def _near_thresholds(task: TextClassifier, want: Arrays, got: Arrays, near: float) -> np.ndarray:
    thresholds = np.array(task.thresholds or [DEFAULT_THRESHOLD] * len(task.labels))
    return ((want["labels"] == got["labels"]) | (np.abs(want["scores"] - thresholds) <= near)).all(axis=1)


def _tag_margin(task: TokenClassifier, text: bytes) -> float:
    """Return by how much the best tag of a text's least certain token leads."""
    margins = [np.inf]

    def forward(tokens: dict[str, tf.Tensor]) -> tf.Tensor:
        logits = task(tokens, training=False)  # (windows, sequence, tags)
        best = tf.math.top_k(tf.nn.softmax(tf.cast(logits, tf.float32)[:, 1:-1]), 2).values
        margins.append(float(tf.reduce_min(best[..., 0] - best[..., 1])))
        return logits

    task.respond(forward, tf.constant([text]))
    return min(margins)


def _tied_spans(contexts: np.ndarray, want: Arrays, got: Arrays, near: float) -> np.ndarray:
    """Whether both answers stand where they say, with the same words or with scores that tie."""
    fine = np.abs(want["score"] - got["score"]) <= near * np.where(
        want["answer"] == got["answer"], 1.0, np.abs(want["score"])
    )
    for row, context in enumerate(contexts):
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
