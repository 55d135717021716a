import pandas as pd
import pytest

from tfllm.data.schema import TextDataset
from tfllm.errors import DataError
from tfllm.evaluation.answers import answer_metrics
from tfllm.evaluation.judging import evaluate
from tfllm.results import Answer, Classification


def test_metrics_by_hand():
    answers = ["the red tower", "1987", "", "Rome", ""]
    right = [["Red tower!", "tower"], ["in 1987", "1999"], ["x"], [], []]
    values = dict(answer_metrics(answers, right))
    assert values["exact_match"] == pytest.approx((1 + 0 + 0 + 0 + 1) / 5)
    assert values["f1"] == pytest.approx((1 + 2 / 3 + 0 + 0 + 1) / 5)
    assert values["has_answer_exact_match"] == pytest.approx(1 / 3)
    assert values["has_answer_f1"] == pytest.approx((1 + 2 / 3) / 3)
    assert values["no_answer_accuracy"] == pytest.approx(1 / 2)
    assert list(dict(answer_metrics(["x"], [["x"]]))) == ["exact_match", "f1"]


def test_the_rules_are_those_of_the_version_that_the_questions_have():
    first, second = dict(answer_metrics(["."], [["."]])), dict(answer_metrics([".", ""], [["."], []]))
    assert (first["exact_match"], first["f1"]) == (1.0, 0.0)
    assert (second["exact_match"], second["f1"]) == (1.0, 1.0)


def test_the_report_shows_what_was_answered_and_what_is_right():
    frame = pd.DataFrame({"q": ["a?", "b?"], "c": ["In Paris in 1987."] * 2, "a": [[(3, 8), (0, 8)], []]})
    data = TextDataset(frame, text="q", text_pair="c", label="a", label_kind="answers")
    report = evaluate(lambda pairs: [Answer("1987", 12, 16, 0.75), Answer("", 0, 0, 0.9)], data)
    assert report.metrics["exact_match"] == 0.5
    (mistake,) = report.mistakes
    assert mistake == {"question": "a?", "expected": "Paris | In Paris", "predicted": "1987", "f1": 0.0, "score": 0.75}
    assert "1 questions without an answer" in report.to_html()
    with pytest.raises(DataError, match="Answer"):
        evaluate(lambda pairs: [Classification("x", 1.0)] * 2, data)
