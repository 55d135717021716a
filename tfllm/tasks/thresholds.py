"""Thresholds chosen on labelled rows: over which score a label counts, under which one a text is out of scope."""

import numpy as np

DEFAULT_THRESHOLD = 0.5


def best_f1_thresholds(scores: np.ndarray, expected: np.ndarray) -> list[float]:
    """Choose each label's threshold so that its F1 is the highest.

    Args:
        scores: float `(rows, labels)`, 0 to 1.
        expected: 0 or 1, `(rows, labels)`.

    Returns:
        One threshold a label, in the middle between two scores; 0.5 for a label that no row has.

    Example:
        >>> best_f1_thresholds(np.array([[0.1], [0.2], [0.4]]), np.array([[0], [1], [1]]))
        [0.15]
    """
    return [_best_f1(scores[:, label], expected[:, label]) for label in range(scores.shape[1])]


def best_rejection_threshold(
    score: np.ndarray, right: np.ndarray, out_of_scope: np.ndarray, *, balanced: bool = True
) -> float:
    """Choose the score under which a text counts as out of scope.

    Args:
        score: the score of each row's best label, float `(rows,)`.
        right: whether that label is right, bool `(rows,)`; False for rows out of scope.
        out_of_scope: whether a row is out of scope, bool `(rows,)`.
        balanced: True lets accuracy in scope and recall out of scope count the same, False each row.

    Returns:
        The threshold, in the middle between two scores.

    Example:
        >>> best_rejection_threshold(np.array([0.9, 0.7, 0.3]), np.array([True, True, False]),
        ...                          np.array([False, False, True]))
        0.5
    """
    weight = np.where(out_of_scope, 1.0 / max(out_of_scope.sum(), 1), 1.0 / max((~out_of_scope).sum(), 1))
    weight = weight if balanced else np.ones_like(weight)
    order = np.argsort(score, kind="stable")
    rejected = np.concatenate([[0.0], np.cumsum((weight * out_of_scope)[order])])  # the lowest 0, 1, 2, ... rejected
    kept = (weight * right).sum() - np.concatenate([[0.0], np.cumsum((weight * right)[order])])
    return _between(score[order], rejected + kept)


def _best_f1(scores: np.ndarray, expected: np.ndarray) -> float:
    if not expected.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(scores, kind="stable")
    lost = np.concatenate([[0], np.cumsum(expected[order])])
    found = expected.sum() - lost  # of the rows over the threshold
    chosen = len(scores) - np.arange(len(scores) + 1)
    return _between(scores[order], 2 * found / (chosen + expected.sum()))


def _between(ordered: np.ndarray, worth: np.ndarray) -> float:
    """Return the middle of the gap, between two different scores, that is worth the most; the lowest of several."""
    edges = np.concatenate([[0.0], ordered, [1.0]])
    gaps = np.diff(edges) > 0
    gaps[0] = True
    best = int(np.argmax(np.where(gaps, worth, -np.inf)))
    return round(float(edges[best] + edges[best + 1]) / 2, 6)
