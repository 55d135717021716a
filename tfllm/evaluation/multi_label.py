"""The judge of any number of labels a row."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn import metrics

from tfllm.data.labels import label_text, sorted_labels
from tfllm.data.schema import TextDataset
from tfllm.evaluation.classification import classes_table
from tfllm.evaluation.report import Report, shown_text
from tfllm.results import MultiLabel


def judge(data: TextDataset, answers: Sequence[MultiLabel], *, title: str, mistakes: int = 20) -> Report:
    """Judge any number of labels a row.

    Args:
        data: the rows.
        answers: one a row.
        title: what to call it.
        mistakes: how many wrong answers to list, those with the most wrong labels first.

    Returns:
        The report.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"text": ["dear and slow", "fine"], "label": [["price", "speed"], []]})
        >>> data = TextDataset(frame, label_kind="labels")
        >>> report = judge(data, [MultiLabel(("price",)), MultiLabel(())], title="Reviews")
        >>> report.metrics["exact_match"], report.metrics["micro_precision"], report.metrics["micro_recall"]
        (0.5, 1.0, 0.5)
    """
    expected = [[label_text(label) for label in labels] for labels in data.targets_of("labels")]
    predicted = [[label_text(label) for label in answer.labels] for answer in answers]
    labels = tuple(sorted_labels(label for row in (*expected, *predicted) for label in row))
    want, got = _indicators(expected, labels), _indicators(predicted, labels)
    wrong = (want != got).sum(axis=1)
    worst = sorted(np.flatnonzero(wrong), key=lambda row: -wrong[row])[:mistakes]
    texts = data.texts
    by_class = _scores(want, got, None) if labels else ([],) * 4
    classes = {
        label: dict(zip(("precision", "recall", "f1", "support"), map(float, values), strict=True))
        for label, *values in zip(labels, *by_class, strict=True)
    }
    return Report(
        title=title,
        rows=len(expected),
        metrics=dict(multi_label_metrics(want, got)),
        mistakes=[
            {
                "text": shown_text(texts[row]),
                "expected": ", ".join(expected[row]),
                "predicted": ", ".join(predicted[row]),
                "wrong": int(wrong[row]),
            }
            for row in worst
        ],
        tables=(classes_table(classes),),
        cards=("exact_match", "micro_f1", "macro_f1", "samples_f1", "hamming_loss"),
        details=f"{len(labels)} labels",
    )


def multi_label_metrics(expected: np.ndarray, predicted: np.ndarray) -> Iterator[tuple[str, float]]:
    """Yield the metrics of a multi-label classification over all rows.

    Args:
        expected: int `(rows, labels)`, 1 where a row has the label.
        predicted: the same of the answers.

    Yields:
        `exact_match` (rows with exactly the right labels), `hamming_loss` (the share of wrong cells), precision, recall
        and F1 as `micro_`, `macro_`, `weighted_` means, and `samples_f1`, the mean over rows; a row without labels that
        got none counts as right.

    Example:
        >>> values = dict(multi_label_metrics(np.array([[1, 0], [1, 1]]), np.array([[1, 0], [1, 0]])))
        >>> values["exact_match"], values["hamming_loss"], values["micro_f1"]
        (0.5, 0.25, 0.8)
    """
    yield "exact_match", float((expected == predicted).all(axis=1).mean())
    yield "hamming_loss", float((expected != predicted).mean()) if expected.size else 0.0
    for average in ("micro", "macro", "weighted") if expected.size else ():
        precision, recall, f1, _ = _scores(expected, predicted, average)
        yield f"{average}_precision", float(precision)
        yield f"{average}_recall", float(recall)
        yield f"{average}_f1", float(f1)
    both, all_labels = (expected & predicted).sum(axis=1), (expected + predicted).sum(axis=1)
    yield "samples_f1", float(np.where(all_labels == 0, 1.0, 2 * both / np.maximum(all_labels, 1)).mean())


def _scores(expected: np.ndarray, predicted: np.ndarray, average: str | None) -> tuple[Any, ...]:
    """Return precision, recall, F1 and support.

    scikit-learn takes one column for two classes, yes and no, so an empty column stands beside the labels.
    """
    want, got = (np.pad(rows, [(0, 0), (0, 1)]) for rows in (expected, predicted))
    labels = range(expected.shape[1])
    return metrics.precision_recall_fscore_support(want, got, labels=labels, average=average, zero_division=0.0)


def _indicators(rows: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
    index = {label: number for number, label in enumerate(labels)}
    found = np.zeros((len(rows), len(labels)), dtype=int)
    for row, names in enumerate(rows):
        found[row, [index[name] for name in names]] = 1
    return found
