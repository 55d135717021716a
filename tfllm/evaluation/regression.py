"""The judge of one number a row."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from tfllm.data.schema import TextDataset
from tfllm.evaluation.classification import finite_scores
from tfllm.evaluation.metrics import correlations
from tfllm.evaluation.plots import regression_picture
from tfllm.evaluation.report import Picture, Report, shown_text
from tfllm.results import Regression, Relevance


def judge(data: TextDataset, answers: Sequence[Regression | Relevance], *, title: str, mistakes: int = 20) -> Report:
    """Judge one number a row: a `Regression` by its value, a `Relevance` by its score.

    Args:
        data: the rows.
        answers: one a row.
        title: what to call it.
        mistakes: how many rows to list, those with the largest errors first.

    Returns:
        The report.

    Raises:
        DataError: an answer is not a number.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"text": ["fine", "good", "great"], "label": [3.0, 4.0, 5.0]})
        >>> data = TextDataset(frame, label_kind="value")
        >>> report = judge(data, [Regression(2.0), Regression(4.0), Regression(5.0)], title="Stars")
        >>> report.metrics["spearman"], round(report.metrics["mean_absolute_error"], 4)
        (1.0, 0.3333)
    """
    expected = np.array(data.targets_of("value"), dtype=np.float64)
    predicted = finite_scores([a.value if isinstance(a, Regression) else a.score for a in answers])
    error = np.abs(expected - predicted)
    worst = np.argsort(-error, kind="stable")[:mistakes]
    texts = data.texts
    return Report(
        title=title,
        rows=len(expected),
        metrics=dict(regression_metrics(expected, predicted)),
        mistakes=[
            {
                "text": shown_text(texts[row]),
                "expected": float(expected[row]),
                "predicted": round(float(predicted[row]), 4),
                "error": round(float(error[row]), 4),
            }
            for row in worst
            if error[row] > 0
        ],
        pictures=(
            Picture(
                "How the answers lie",
                "Each dot is a row. On the dashed line an answer is exact.",
                partial(regression_picture, expected, predicted),
            ),
        ),
        cards=("pearson", "spearman", "mean_absolute_error", "root_mean_squared_error"),
        mistakes_title="The largest errors",
    )


def regression_metrics(expected: np.ndarray, predicted: np.ndarray) -> Iterator[tuple[str, float]]:
    """Yield the metrics of a regression over all rows.

    Args:
        expected: float `(rows,)`.
        predicted: float `(rows,)`.

    Yields:
        `pearson` and `spearman` correlation (0.0 where all numbers of a side are equal), `mean_absolute_error`,
        `root_mean_squared_error`, and `r2`, the share of the variance that is explained.

    Example:
        >>> values = dict(regression_metrics(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])))
        >>> round(values["pearson"], 4), values["mean_absolute_error"]
        (1.0, 2.0)
    """
    yield from correlations(expected, predicted).items()
    error = predicted - expected
    yield "mean_absolute_error", float(np.abs(error).mean())
    yield "root_mean_squared_error", float(np.sqrt(np.square(error).mean()))
    variance = np.square(expected - expected.mean()).sum()
    yield "r2", float(1 - np.square(error).sum() / variance) if variance else 0.0
