import json

import numpy as np
import pandas as pd
import pytest

from tfllm.data.schema import TextDataset
from tfllm.evaluation.judging import evaluate
from tfllm.evaluation.multi_label import multi_label_metrics
from tfllm.results import MultiLabel

# rows:       a b c      answers:    a b c
#             1 1 0                  1 0 0
#             0 0 1                  0 1 1
#             0 0 0                  0 0 0
EXPECTED = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]])
PREDICTED = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]])


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("exact_match", 1 / 3),
        ("hamming_loss", 2 / 9),
        ("micro_precision", 2 / 3),
        ("micro_recall", 2 / 3),
        ("macro_f1", (1 + 0 + 1) / 3),
        ("weighted_recall", (1 + 0 + 1) / 3),
        ("samples_f1", (2 / 3 + 2 / 3 + 1) / 3),
    ],
)
def test_metrics_by_hand(name, by_hand):
    assert dict(multi_label_metrics(EXPECTED, PREDICTED))[name] == pytest.approx(by_hand)


@pytest.fixture
def report():
    frame = pd.DataFrame({"text": ["x", "y", "z"], "label": [["a", "b"], ["c"], []]})
    answers = [MultiLabel(("a",)), MultiLabel(("b", "c")), MultiLabel(())]
    return evaluate(lambda texts: answers, TextDataset(frame, label_kind="labels", source="the rows"))


def test_what_a_report_holds(report):
    assert (report.title, report.rows, report.details) == ("Evaluation on the rows", 3, "3 labels")
    assert report.metrics == dict(multi_label_metrics(EXPECTED, PREDICTED))
    assert report.mistakes == [
        {"text": "x", "expected": "a, b", "predicted": "a", "wrong": 1},
        {"text": "y", "expected": "c", "predicted": "b, c", "wrong": 1},
    ]
    assert report.tables[0].to_dict()[1] == {"label": "b", "precision": 0.0, "recall": 0.0, "F1": 0.0, "rows": 1}


def test_it_is_saved_in_every_format(report, tmp_path):
    for ending in ("html", "md"):
        text = report.save(tmp_path / f"report.{ending}").read_text("utf-8")
        assert "samples f1" in text and "Each label" in text and "b, c" in text
    stored = json.loads(report.save(tmp_path / "report.json").read_text("utf-8"))
    assert set(stored) == {"title", "rows", "metrics", "tables", "mistakes"}
    assert stored["tables"]["Each label"][0]["label"] == "a"


def test_one_label_by_hand():
    found = dict(multi_label_metrics(np.array([[1], [0], [0], [0]]), np.zeros((4, 1), int)))
    assert {found[f"{mean}_{name}"] for mean in ("micro", "macro", "weighted") for name in ("recall", "f1")} == {0.0}
    found = dict(multi_label_metrics(np.array([[1], [1], [0]]), np.array([[1], [0], [1]])))
    assert found["micro_f1"] == found["macro_f1"] == found["weighted_precision"] == 0.5


def test_a_report_of_one_label():
    frame = pd.DataFrame({"text": ["x", "y", "z"], "label": [["a"], [], ["a"]]})
    answers = [MultiLabel(("a",)), MultiLabel(("a",)), MultiLabel(())]
    report = evaluate(lambda texts: answers, TextDataset(frame, label_kind="labels"))
    assert report.tables[0].to_dict() == [{"label": "a", "precision": 0.5, "recall": 0.5, "F1": 0.5, "rows": 2}]
    assert report.metrics["macro_f1"] == 0.5


def test_no_labels_anywhere():
    data = TextDataset(pd.DataFrame({"text": ["x"], "label": [[]]}), label_kind="labels")
    report = evaluate(lambda texts: [MultiLabel(())], data)
    assert report.metrics == {"exact_match": 1.0, "hamming_loss": 0.0, "samples_f1": 1.0}
    assert report.to_html()
