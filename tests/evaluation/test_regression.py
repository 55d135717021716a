import numpy as np
import pandas as pd
import pytest

from tfllm.data.schema import TextDataset
from tfllm.errors import DataError
from tfllm.evaluation.judging import evaluate
from tfllm.evaluation.regression import regression_metrics
from tfllm.results import Regression, Relevance

DATA = TextDataset(
    pd.DataFrame({"text": ["x", "y", "z"], "label": [1.0, 2.0, 4.0]}), label_kind="value", source="the rows"
)


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("pearson", 0.8660254),  # of (1, 2, 3) and (1, 3, 3): 1 / sqrt(4 / 3)
        ("spearman", 0.8660254),  # ties share the mean rank
        ("mean_absolute_error", 1 / 3),
        ("root_mean_squared_error", (1 / 3) ** 0.5),
        ("r2", 0.5),
    ],
)
def test_metrics_by_hand(name, by_hand):
    values = dict(regression_metrics(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 3.0])))
    assert values[name] == pytest.approx(by_hand)


@pytest.mark.parametrize(("expected", "predicted"), [([1, 2], [5, 5]), ([3, 3], [1, 2]), ([1], [1])])
def test_no_correlation_without_variance(expected, predicted):
    values = dict(regression_metrics(np.array(expected, float), np.array(predicted, float)))
    assert values["pearson"] == values["spearman"] == 0.0
    assert np.isfinite(list(values.values())).all()


def test_the_largest_errors_come_first_and_exact_answers_not_at_all():
    report = evaluate(lambda texts: [Regression(1.5), Regression(2.0), Regression(1.0)], DATA)
    assert [(row["text"], row["error"]) for row in report.mistakes] == [("z", 3.0), ("x", 0.5)]
    assert report.to_html().count("<svg") == 1
    assert "| z | 4.000 | 1.000 | 3.000 |" in report.to_markdown()


def test_a_relevance_is_judged_by_its_score():
    report = evaluate(lambda texts: [Relevance(0.1), Relevance(0.2), Relevance(0.3)], DATA)
    assert report.metrics["spearman"] == pytest.approx(1.0)


def test_answers_of_another_kind_and_no_numbers():
    with pytest.raises(DataError, match=r"Regression or Relevance.*label_kind='value'.*Received: 'x'"):
        evaluate(list, DATA)
    with pytest.raises(DataError, match="scores that are numbers"):
        evaluate(lambda texts: [Regression(float("nan"))] * 3, DATA)
