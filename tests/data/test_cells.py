import numpy as np
import pandas as pd
import pytest

from tfllm.data.cells import cell_text, is_missing, without_lone_surrogates
from tfllm.data.labels import label_text


@pytest.mark.parametrize(
    ("cell", "text"),
    [("a", "a"), (" a ", " a "), (5, "5"), (True, "True"), ("é".encode(), "é"), ("\ud83d\ude00", "😀")],
)
def test_one_value_is_a_text(cell, text):
    assert cell_text(cell) == text


def test_a_label_is_written_as_labels_are():
    assert (cell_text(5.0), cell_text(5.0, label_text)) == ("5.0", "5")


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (None, "no value"),
        (float("nan"), "no value"),
        (pd.NA, "no value"),
        (" \n", "no value"),
        (["a"], "a list instead of one value"),
        ({"a": 1}, "a dict instead of one value"),
        (np.array(["a"]), "a ndarray instead of one value"),
        (b"\xff", "bytes that are not UTF-8"),
    ],
)
def test_what_is_no_text(cell, problem):
    with pytest.raises(ValueError, match=problem):
        cell_text(cell)


def test_what_is_missing_and_what_is_empty():
    assert all(map(is_missing, (None, float("nan"), pd.NA, pd.NaT, "", " \t")))
    assert not any(map(is_missing, ([], [None], {}, np.array([]), "[]", 0, False, "NA")))


def test_halves_of_a_pair_are_joined_and_others_replaced():
    assert without_lone_surrogates("a\ud83d\ude00\ud83db") == "a😀\ufffdb"
