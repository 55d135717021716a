"""Metrics of classification, each as `(name, value)`; the sums are scikit-learn's."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats
from sklearn import metrics

from tfllm.errors import DataError, choices_hint

CALIBRATION_BINS = 10


def classification_metrics(
    expected: Sequence[str], predicted: Sequence[str], confidence: np.ndarray, labels: Sequence[str]
) -> Iterator[tuple[str, float]]:
    """Yield the metrics of a classification over all rows.

    Args:
        expected: the right label of each row.
        predicted: the predicted label of each row.
        confidence: the score of the predicted label, float `(rows,)`, 0 to 1.
        labels: all labels.

    Yields:
        `accuracy`, `balanced_accuracy`, `matthews_correlation`, precision, recall and F1 as `macro_` and `weighted_`
        means, and `expected_calibration_error`.

    Example:
        >>> values = dict(classification_metrics(["a", "b"], ["a", "a"], np.array([0.9, 0.6]), ["a", "b"]))
        >>> values["accuracy"], round(values["macro_f1"], 4)
        (0.5, 0.3333)
    """
    yield "accuracy", float(metrics.accuracy_score(expected, predicted))
    yield (
        "balanced_accuracy",
        float(np.mean(_present(per_class(expected, predicted, labels)["recall"], expected, labels))),
    )
    several = len({*expected, *predicted}) > 1  # with one label the correlation is 0 over 0
    yield "matthews_correlation", float(metrics.matthews_corrcoef(expected, predicted)) if several else 0.0
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            expected, predicted, labels=list(labels), average=average, zero_division=0.0
        )
        yield f"{average}_precision", float(precision)
        yield f"{average}_recall", float(recall)
        yield f"{average}_f1", float(f1)
    right = np.array([want == got for want, got in zip(expected, predicted, strict=True)])
    yield "expected_calibration_error", expected_calibration_error(confidence, right)


def out_of_scope_metrics(
    expected: Sequence[str], predicted: Sequence[str], confidence: np.ndarray, out_of_scope: str
) -> Iterator[tuple[str, float]]:
    """Yield how well rows that belong to no label are told from the others.

    Args:
        expected: the right label of each row.
        predicted: the predicted label of each row.
        confidence: the score of the best label in scope, float `(rows,)`.
        out_of_scope: the label of the rows that belong to no label; some row must have it.

    Yields:
        `in_scope_accuracy`, `out_of_scope_recall` and `out_of_scope_precision` as Larson et al. (2019, "An evaluation
        dataset for intent classification and out-of-scope prediction", section 4) have them, and `out_of_scope_auroc`,
        which knows no threshold: how often a row in scope has the higher score. It is for models that reject by their
        score; one that has learnt `out_of_scope` as a label is told by precision and recall. What cannot be said (no
        such rows) is 0.0, and 0.5 for the AUROC.

    Raises:
        DataError: no row has the label `out_of_scope`.

    Example:
        >>> values = dict(out_of_scope_metrics(["a", "oos"], ["a", "a"], np.array([0.9, 0.4]), "oos"))
        >>> values["in_scope_accuracy"], values["out_of_scope_recall"], values["out_of_scope_auroc"]
        (1.0, 0.0, 1.0)
    """
    if out_of_scope not in set(expected):
        raise DataError(
            f"Expected rows with the label out_of_scope={out_of_scope!r}. Received: none. "
            + choices_hint(out_of_scope, sorted(set(expected)))
        )
    outside, rejected = np.array(expected) == out_of_scope, np.array(predicted) == out_of_scope
    right = np.array(expected) == np.array(predicted)
    yield "in_scope_accuracy", float(right[~outside].mean()) if (~outside).any() else 0.0
    yield "out_of_scope_recall", float(rejected[outside].mean())
    yield "out_of_scope_precision", float(outside[rejected].mean()) if rejected.any() else 0.0
    yield "out_of_scope_auroc", 0.5 if outside.all() else float(metrics.roc_auc_score(~outside, confidence))


def per_class(expected: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Return precision, recall, F1 and support of each label, each `(labels,)`."""
    values = metrics.precision_recall_fscore_support(expected, predicted, labels=list(labels), zero_division=0.0)
    return dict(zip(("precision", "recall", "f1", "support"), values, strict=True))


def confusion_matrix(expected: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Count the rows of each right and each predicted label, int `(labels, labels)`; rows are the right ones."""
    index = {label: number for number, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(matrix, ([index[label] for label in expected], [index[label] for label in predicted]), 1)
    return matrix


def calibration_bins(confidence: np.ndarray, right: np.ndarray) -> list[tuple[float, float, int]]:
    """Return mean confidence, accuracy and rows of each of ten equally wide bins that has rows.

    Args:
        confidence: float `(rows,)`.
        right: bool `(rows,)`.
    """
    bins = np.clip((confidence * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    groups = [bins == index for index in range(CALIBRATION_BINS)]
    return [(float(confidence[g].mean()), float(right[g].mean()), int(g.sum())) for g in groups if g.any()]


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the mean gap between confidence and accuracy, weighted by rows; 0.0 without any.

    Reference:
        Guo et al., 2017, "On calibration of modern neural networks", section 2.
    """
    gaps = [rows * abs(mean - accuracy) for mean, accuracy, rows in calibration_bins(confidence, right)]
    return sum(gaps) / max(len(right), 1)


def correlations(expected: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return the `pearson` and `spearman` correlation; 0.0 where all numbers of a side are equal.

    Args:
        expected: float `(rows,)`.
        predicted: float `(rows,)`.

    Example:
        >>> correlations(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0]))
        {'pearson': 0.0, 'spearman': 0.0}
    """
    if np.ptp(expected) == 0 or np.ptp(predicted) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    measures = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
    return {name: float(measure(expected, predicted).statistic) for name, measure in measures.items()}


def _present(values: np.ndarray, expected: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    occurring = set(expected)
    return values[[label in occurring for label in labels]]
