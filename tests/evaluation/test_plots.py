import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tfllm.evaluation.plots import calibration_picture, confusion_picture, coverage_picture

MATRIX = np.array([[8, 1], [0, 3]])
BINS = [(0.55, 0.4, 5), (0.95, 0.9, 20)]
CONFIDENCE, RIGHT = np.array([0.9, 0.8, 0.7]), np.array([True, True, False])


def words(picture):
    """Parse a picture, and return its texts."""
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: confusion_picture(MATRIX, ["bad", "good"]),
        lambda: calibration_picture(BINS),
        lambda: coverage_picture(CONFIDENCE, RIGHT),
    ],
    ids=["confusion", "calibration", "coverage"],
)
def test_a_picture_is_one_svg_element_and_always_the_same(draw):
    picture = draw()
    assert picture.startswith("<svg")
    assert words(picture)
    assert picture == draw()


def test_a_confusion_matrix_shows_labels_and_counts_but_no_zeros():
    shown = words(confusion_picture(MATRIX, ["bad", "good"]))
    assert shown[:4] == ["bad", "good", "predicted", "bad"]
    assert [text for text in shown if text in {"8", "1", "3", "0"}] == ["8", "1", "3"]


@pytest.mark.parametrize(
    "label",
    ["$5", "$x^$", "$a$", "<b>&", "日本語", "😀", "a\0b\nc", "_x", "", "شكرا", "x" * 500, "\\frac{", "{}", "%s"],
)
def test_any_label_can_be_drawn(label):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = words(confusion_picture(MATRIX, [label, "good"]))
    assert "good" in shown
    if label.isprintable() and 0 < len(label) < 24:
        assert shown.count(label) == 2


def test_a_long_label_is_cut():
    shown = words(confusion_picture(MATRIX, ["x" * 24, "y" * 25]))
    assert "x" * 24 in shown
    assert "y" * 23 + "…" in shown


def test_very_many_labels_are_not_written_out():
    labels = [f"label {number}" for number in range(40)]
    shown = words(confusion_picture(np.eye(40, dtype=int), labels))
    assert not [text for text in shown if text and text.startswith("label")]


def test_one_row():
    assert words(coverage_picture(np.array([0.5]), np.array([False])))
    assert words(calibration_picture([(0.5, 0.0, 1)]))
