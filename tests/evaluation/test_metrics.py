import numpy as np
import pytest

from tfllm.evaluation.metrics import (
    calibration_bins,
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
    per_class,
)

# right:      a a a b b c      of a: 2 found of 3, and 1 of the 3 answers `a` is wrong
# predicted:  a a b b a c      of b: 1 found of 2, and 1 of the 2 answers `b` is wrong
EXPECTED = list("aaabbc")
PREDICTED = list("aabbac")
CONFIDENCE = np.array([0.95, 0.85, 0.55, 0.65, 0.75, 0.95])


@pytest.fixture(scope="module")
def values():
    return dict(classification_metrics(EXPECTED, PREDICTED, CONFIDENCE, ["a", "b", "c"]))


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("accuracy", 4 / 6),
        ("balanced_accuracy", (2 / 3 + 1 / 2 + 1) / 3),
        ("macro_precision", (2 / 3 + 1 / 2 + 1) / 3),
        ("macro_recall", (2 / 3 + 1 / 2 + 1) / 3),
        ("macro_f1", (2 / 3 + 1 / 2 + 1) / 3),
        ("weighted_precision", (3 * 2 / 3 + 2 * 1 / 2 + 1) / 6),
        ("weighted_recall", 4 / 6),
        ("weighted_f1", (3 * 2 / 3 + 2 * 1 / 2 + 1) / 6),
        # (right * rows - sum t_k p_k) / sqrt((rows^2 - sum p_k^2) (rows^2 - sum t_k^2)), Gorodkin 2004
        ("matthews_correlation", (4 * 6 - (9 + 4 + 1)) / (36 - (9 + 4 + 1))),
        # bins 0.5: gap 0.55; 0.6: gap 0.35; 0.7: gap 0.75; 0.8: gap 0.15; 0.9: two rows, gap 0.05
        ("expected_calibration_error", (0.55 + 0.35 + 0.75 + 0.15 + 2 * 0.05) / 6),
    ],
)
def test_metrics_by_hand(values, name, by_hand):
    assert values[name] == pytest.approx(by_hand)


def test_all_metrics_are_floats_in_a_fixed_order(values):
    assert list(values) == [
        "accuracy",
        "balanced_accuracy",
        "matthews_correlation",
        "macro_precision",
        "macro_recall",
        "macro_f1",
        "weighted_precision",
        "weighted_recall",
        "weighted_f1",
        "expected_calibration_error",
    ]
    assert {type(value) for value in values.values()} == {float}


def test_each_label_by_hand():
    table = per_class(list("aab"), list("abb"), ["a", "b", "c"])
    assert table["precision"].tolist() == [1.0, 0.5, 0.0]
    assert table["recall"].tolist() == [0.5, 1.0, 0.0]
    assert table["f1"].tolist() == pytest.approx([2 / 3, 2 / 3, 0.0])
    assert table["support"].tolist() == [2, 1, 0]


def test_confusion_matrix_by_hand():
    matrix = confusion_matrix(EXPECTED, PREDICTED, ["a", "b", "c", "d"])
    assert matrix.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_balanced_accuracy_leaves_out_labels_that_never_occur():
    values = dict(classification_metrics(["a", "b"], ["a", "c"], np.ones(2), ["a", "b", "c"]))
    assert values["balanced_accuracy"] == 0.5
    assert values["macro_recall"] == pytest.approx(1 / 3)


def test_one_label_only():
    values = dict(classification_metrics(["a", "a"], ["a", "a"], np.array([0.5, 1.0]), ["a"]))
    assert values["accuracy"] == values["macro_f1"] == 1.0
    assert values["matthews_correlation"] == 0.0


def test_calibration_bins():
    confidence = np.array([0.0, 0.05, 0.3, 0.31, 0.99, 1.0])
    right = np.array([True, False, True, False, True, True])
    assert calibration_bins(confidence, right) == [
        (0.025, 0.5, 2),
        (pytest.approx(0.305), 0.5, 2),
        (pytest.approx(0.995), 1.0, 2),
    ]


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [
        ([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0], 0.0),
        ([1.0, 1.0], [1, 1], 0.0),
        ([1.0, 1.0], [0, 0], 1.0),
        ([0.8, 0.8, 0.6], [1, 1, 0], (2 * 0.2 + 0.6) / 3),
    ],
)
def test_calibration_error_by_hand(confidence, right, error):
    assert expected_calibration_error(np.array(confidence), np.array(right, bool)) == pytest.approx(error)
