"""Compare what a task answers in Keras with what its SavedModel answers, row by row."""

from dataclasses import dataclass

import numpy as np

from tfllm.exporting.reload import Arrays, Request
from tfllm.exporting.ties import undecided
from tfllm.exporting.verify import filled, scale_of
from tfllm.tasks.base import Task


@dataclass(frozen=True)
class Comparison:
    """How far two answers to one request are apart.

    Attributes:
        difference: the largest difference of any number that has to be equal; infinite where names or shapes differ.
        same: whether each row was decided alike: the same texts, places and counts, bool `(batch,)`.
        wrong: how many rows were decided otherwise though the numbers leave no doubt.
    """

    difference: float
    same: np.ndarray
    wrong: int


def compare(task: Task, request: Request, want: Arrays, got: Arrays, tolerance: float) -> Comparison:
    """Compare the answers to a request.

    Rows are decided otherwise without being wrong where rounding may decide: see `undecided`. Numbers in the units of
    the training rows count as shares of their range; those of `tokens` at tokens, not at padding, and by their size
    where they are over 1.

    Args:
        task: the task.
        request: what was asked.
        want: the answers in Keras.
        got: the answers of the SavedModel.
        tolerance: the largest difference allowed.
    """
    rows = len(next(iter(want.values())))
    if not _alike(want, got):
        return Comparison(float("inf"), np.zeros(rows, bool), rows)
    want, got = _padded(want, got)
    same = _decided_alike(want, got)
    excused = np.zeros(rows, bool)
    if not same.all():
        excused = ~same & undecided(task, request, want, got, tolerance)
    differences = [0.0]
    for name, expected in want.items():
        if np.issubdtype(expected.dtype, np.number):
            difference = np.abs(expected.astype("float64") - got[name]) / scale_of(
                request[0], name, expected, task.answer_scale
            )
            if np.issubdtype(expected.dtype, np.integer) or want.keys() & {"entity", "answer"}:
                # they follow from the decision
                difference = difference[~excused]
            differences.append(np.max(_at_tokens(request, difference), initial=0.0))
    return Comparison(float(np.max(differences)), same, int((~same & ~excused).sum()))


def _alike(want: Arrays, got: Arrays) -> bool:
    """Whether names, ranks and rows are the same."""
    if want.keys() != got.keys():
        return False
    return all(want[name].ndim == got[name].ndim and len(want[name]) == len(got[name]) for name in want)


def _padded(want: Arrays, got: Arrays) -> tuple[Arrays, Arrays]:
    """Give both the same shapes: the longest list of a batch decides how many places each row has."""
    shapes = {name: np.maximum(values.shape, got[name].shape) for name, values in want.items()}
    return tuple({name: filled(side[name], shape) for name, shape in shapes.items()} for side in (want, got))


def _decided_alike(want: Arrays, got: Arrays) -> np.ndarray:
    """Whether the texts and whole numbers of each row are the same, bool `(batch,)`."""
    same = np.ones(len(next(iter(want.values()))), bool)
    for name, expected in want.items():
        if not np.issubdtype(expected.dtype, np.floating):
            same &= (expected == got[name]).reshape(len(same), -1).all(axis=1)
    return same


def _at_tokens(request: Request, difference: np.ndarray) -> np.ndarray:
    """Return the differences at tokens, where there is a number for each position."""
    mask = request[1].get("padding_mask")
    if mask is None or difference.shape[:2] != mask.shape:
        return difference
    return difference * (mask != 0)[(...,) + (np.newaxis,) * (difference.ndim - 2)]
