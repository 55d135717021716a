import numpy as np
import pandas as pd
import pytest

from tfllm.data.schema import TextDataset
from tfllm.errors import DataError, SingleClass
from tfllm.evaluation.baselines import train_baseline
from tfllm.evaluation.judging import evaluate
from tfllm.results import Classification, MultiLabel, Regression

WORDS = ("good", "bad", "film", "food")


def encode(texts):
    return np.array([[float(text.split().count(word)) for word in WORDS] for text in texts])


def data_of(rows, kind="label", **columns):
    return TextDataset(pd.DataFrame(rows, columns=["text", *columns, "label"]), label_kind=kind, **columns)


REVIEWS = data_of([["good film", "1"], ["good food", "1"], ["bad film", "0"], ["bad food", "0"]])


def test_one_label_a_row():
    baseline = train_baseline(encode, REVIEWS)
    answer = baseline.predict_text(["good good film"])[0]
    assert answer.label == "1" and answer.score == max(answer.scores) > 0.5
    assert sum(answer.scores) == pytest.approx(1.0)
    assert baseline.labels[answer.scores.index(answer.score)] == "1"
    assert baseline.predict_text([]) == []
    assert evaluate(baseline.predict_text, REVIEWS).accuracy == 1.0


def test_several_labels_a_row():
    rows = [["good film", ["good", "film"]], ["bad film", ["film"]], ["good food", ["good"]], ["bad food", []]]
    data = data_of(rows * 5, "labels")
    answers = train_baseline(encode, data).predict_text(["good film", "bad food"])
    assert [set(answer.labels) for answer in answers] == [{"good", "film"}, set()]
    assert isinstance(answers[0], MultiLabel) and len(answers[0].scores) == 2


def test_numbers():
    data = data_of([["good " * number, number] for number in range(10)], "value")
    answer = train_baseline(encode, data).predict_text(["good good good"])[0]
    assert isinstance(answer, Regression) and answer.value == pytest.approx(3.0, abs=0.1)


def test_pairs():
    rows = [["good", "good", "same"], ["good", "bad", "other"], ["bad", "bad", "same"], ["bad", "good", "other"]]
    data = TextDataset(pd.DataFrame(rows, columns=["a", "b", "label"]), text="a", text_pair="b")
    answers = train_baseline(encode, data).predict_text([("good", "good"), ("bad", "good")])
    assert [answer.label for answer in answers] == ["same", "other"]


def test_what_it_cannot_learn():
    with pytest.raises(SingleClass):
        train_baseline(encode, data_of([["good", "1"], ["bad", "1"]]))
    with pytest.raises(DataError, match="Expected rows with one label, several, or a number"):
        train_baseline(encode, data_of([["good film", []]], "entities"))


def always_good(texts):
    return [Classification("1", 0.9) for _ in texts]


def test_a_report_sets_the_model_beside_its_baselines():
    report = evaluate(train_baseline(encode, REVIEWS).predict_text, REVIEWS, baselines={"always good": always_good})
    assert report.accuracy == 1.0 and report.baselines["always good"]["accuracy"] == 0.5
    assert "baseline always good: accuracy 0.5000" in str(report)
    assert report.to_dict()["baselines"] == report.baselines
    assert "| this model | 1.000 |" in report.to_markdown() and "| always good | 0.500 |" in report.to_markdown()
    assert "Beside baselines" in report.to_html()
    assert all(mistake["predicted"] for mistake in report.mistakes)


def test_without_baselines_a_report_says_nothing_of_them():
    report = evaluate(always_good, REVIEWS)
    assert "baselines" not in report.to_dict() and "Beside baselines" not in report.to_html()


def test_a_baseline_of_another_kind_is_refused():
    with pytest.raises(DataError, match="Expected answers of the kind Classification"):
        evaluate(always_good, REVIEWS, baselines={"numbers": lambda texts: [Regression(0.0) for _ in texts]})
