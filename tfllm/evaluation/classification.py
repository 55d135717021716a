"""The judge of one label a row, and its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from tfllm.data.labels import label_text, sorted_labels
from tfllm.data.schema import TextDataset
from tfllm.errors import DataError
from tfllm.evaluation.metrics import (
    calibration_bins,
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
    out_of_scope_metrics,
    per_class,
)
from tfllm.evaluation.plots import calibration_picture, confusion_picture, coverage_picture
from tfllm.evaluation.report import Picture, Report, Table, shown_text
from tfllm.results import Classification

_CARDS = (
    *("accuracy", "macro_f1", "weighted_f1", "matthews_correlation", "expected_calibration_error"),
    *("in_scope_accuracy", "out_of_scope_recall", "out_of_scope_precision", "out_of_scope_auroc"),
)
_TRUST = "How far the scores can be trusted"


@dataclass(frozen=True, kw_only=True)
class ClassificationReport(Report):
    """How good a classifier is on one data set.

    Attributes:
        labels: the labels.
        classes: label -> precision, recall, f1, support.
        confusion: int, one row a right label, one column a predicted one.
    """

    labels: tuple[str, ...]
    classes: dict[str, dict[str, float]]
    confusion: list[list[int]]

    _plain: ClassVar[tuple[str, ...]] = ("title", "rows", "metrics", "labels", "classes", "confusion")

    @property
    def accuracy(self) -> float:
        """The share of rows with the right label."""
        return self.metrics["accuracy"]

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain data."""
        found = {name: getattr(self, name) for name in self._plain}
        return {**found, "mistakes": self.mistakes, **self._baselines()}


_MISTAKE = ("text", "expected", "predicted", "score")


def judge(
    data: TextDataset,
    answers: Sequence[Classification],
    *,
    title: str,
    mistakes: int = 20,
    out_of_scope: str | None = None,
) -> ClassificationReport:
    """Judge one label a row.

    Args:
        data: the rows.
        answers: one a row.
        title: what to call it.
        mistakes: how many wrong answers to list, the most confident first.
        out_of_scope: the label of the rows that belong to no label of the model, or None. The score of an answer of
            this label is that of the best label in scope, so such answers are no part of what tells how far scores can
            be trusted.

    Returns:
        The report.

    Raises:
        DataError: a score is not a number, or no row has the label `out_of_scope`.

    Example:
        >>> import pandas as pd
        >>> data = TextDataset(pd.DataFrame({"text": ["good", "bad"], "label": ["1", "0"]}))
        >>> judge(data, [Classification("1", 0.8), Classification("1", 0.8)], title="Reviews").confusion
        [[0, 1], [0, 1]]
    """
    expected = data.label_values
    predicted = [label_text(answer.label) for answer in answers]
    confidence = finite_scores([answer.score for answer in answers])
    right = np.array([want == got for want, got in zip(expected, predicted, strict=True)])
    labels = tuple(sorted_labels([*expected, *predicted]))
    by_class = per_class(expected, predicted, labels)
    classes = {
        label: {name: float(values[index]) for name, values in by_class.items()} for index, label in enumerate(labels)
    }
    matrix = confusion_matrix(expected, predicted, labels)
    worst = sorted(np.flatnonzero(~right), key=lambda row: -confidence[row])[:mistakes]
    texts = data.texts
    scope = None if out_of_scope is None else label_text(out_of_scope)
    scored = np.array([label != scope for label in predicted])  # rows whose score is that of their answer
    return ClassificationReport(
        title=title,
        rows=len(expected),
        metrics=_metrics(expected, predicted, confidence, labels, scope),
        labels=labels,
        classes=classes,
        confusion=matrix.tolist(),
        mistakes=[
            dict(zip(_MISTAKE, (shown_text(texts[row]), expected[row], predicted[row], score), strict=True))
            for row, score in ((row, round(float(confidence[row]), 4)) for row in worst)
        ],
        tables=(classes_table(classes), _confusion_table(matrix, labels)),
        pictures=_pictures(matrix, labels, confidence[scored], right[scored]),
        cards=_CARDS,
        details=f"{len(labels)} labels",
        mistakes_title="The most confident mistakes",
    )


def _metrics(
    expected: Sequence[str], predicted: Sequence[str], confidence: np.ndarray, labels: Sequence[str], scope: str | None
) -> dict[str, float]:
    """Return all metrics; where there is a label of rows out of scope, what answers of this label score is left out."""
    found = dict(classification_metrics(expected, predicted, confidence, labels))
    if scope is None:
        return found
    scored = [row for row, label in enumerate(predicted) if label != scope]
    right = np.array([expected[row] == predicted[row] for row in scored], dtype=bool)
    found["expected_calibration_error"] = expected_calibration_error(confidence[scored], right)
    return {**found, **dict(out_of_scope_metrics(expected, predicted, confidence, scope))}


def finite_scores(scores: Sequence[float]) -> np.ndarray:
    """Return scores as float64 `(rows,)`.

    Raises:
        DataError: a score is not a finite number.
    """
    values = np.array(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"Expected scores that are numbers. Received: {values[row]} for row {row}.")
    return values


def classes_table(classes: dict[str, dict[str, float]]) -> Table:
    """Return the table of precision, recall and F1 by label."""
    rows = [[label, v["precision"], v["recall"], v["f1"], int(v["support"])] for label, v in classes.items()]
    return Table("Each label", ("label", "precision", "recall", "F1", "rows"), rows, ("precision", "recall", "F1"))


def _confusion_table(matrix: np.ndarray, labels: Sequence[str]) -> Table:
    rows = [[label, *counts] for label, counts in zip(labels, matrix.tolist(), strict=True)]
    caption = "Rows are the right labels, columns the predicted ones."
    return Table("Confusion matrix", ("", *labels), rows, caption=caption, pictured=True)


def _pictures(
    matrix: np.ndarray, labels: Sequence[str], confidence: np.ndarray, right: np.ndarray
) -> tuple[Picture, ...]:
    confusion = Picture(
        "Where labels are mixed up",
        "Rows are the right labels, columns the predicted ones. The diagonal is right.",
        partial(confusion_picture, matrix, labels),
    )
    if not len(right):
        return (confusion,)
    return (
        confusion,
        Picture(
            _TRUST,
            "On the dashed line a score of 0.8 is right 8 times in 10. Larger dots stand for more rows.",
            partial(calibration_picture, calibration_bins(confidence, right)),
        ),
        Picture(
            _TRUST,
            "The accuracy when only the most confident answers are used and the rest is left to people.",
            partial(coverage_picture, confidence, right),
        ),
    )
