import numpy as np
import pandas as pd
import pytest

from tfllm.data.labels import LabelMap, label_text, sorted_labels
from tfllm.data.schema import TextDataset
from tfllm.errors import DataError, UnknownLabel


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, 2, 9], ("2", "9", "10")),
        (["10", "9", "2"], ("2", "9", "10")),
        ([1, -1, 0], ("-1", "0", "1")),
        (["10", "9", "two"], ("10", "9", "two")),
        (["b", "B", "a", "ä"], ("B", "a", "b", "ä")),
        (["1.5", "10", "9"], ("1.5", "10", "9")),
        (["--5", "4"], ("--5", "4")),
        (["٣", "2"], ("2", "٣")),
        (["7" * 5000, "8"], ("7" * 5000, "8")),
        ([True, False], ("False", "True")),
    ],
)
def test_order(values, names):
    assert LabelMap.from_values(values).names == names
    assert LabelMap.from_values(reversed(values)).names == names


def test_equal_numbers_in_two_spellings_have_a_stable_order():
    assert sorted_labels(["5", "05", "-0", "0"]) == sorted_labels(["0", "-0", "05", "5"]) == ["-0", "0", "05", "5"]


@pytest.mark.parametrize("value", ["5", 5, 5.0, np.int64(5), np.float32(5), " 5\n", b"5"])
def test_one_label_in_many_types(value):
    labels = LabelMap(["5", "6"])
    assert label_text(value) == "5"
    assert labels.encode([value]).tolist() == [0]
    assert value in labels


@pytest.mark.parametrize(
    ("value", "text"), [(5.5, "5.5"), (float("inf"), "inf"), ("5.0", "5.0"), (1e20, "1" + "0" * 20)]
)
def test_other_numbers_stay_as_they_are_written(value, text):
    assert label_text(value) == text


def test_encode_and_decode():
    labels = LabelMap(["bad", "good"])
    indices = labels.encode(["good", "bad", "good"])
    assert (indices.dtype, indices.tolist()) == (np.int32, [1, 0, 1])
    assert labels.decode(indices) == ["good", "bad", "good"]
    assert labels.encode([]).shape == (0,)


def test_an_unknown_label_is_named_with_the_close_match():
    with pytest.raises(UnknownLabel, match=r"unknown: \['god', 'x'\]. Did you mean 'good'\? Available: 'bad', 'good'"):
        LabelMap(["bad", "good"]).encode(["good", "x", "god", "x"])


def test_a_label_that_training_never_saw():
    train = TextDataset(pd.DataFrame({"text": ["a", "b"], "label": ["good", "bad"]}))
    dev = TextDataset(pd.DataFrame({"text": ["a", "b"], "label": ["good", "fair"]}))
    with pytest.raises(UnknownLabel, match="Expected labels of 2 known ones. Received unknown: .'fair'"):
        train.labels.encode(dev.label_values)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "at least two labels"),
        ([], "at least two labels"),
        (["a", "b", "a"], "do not repeat"),
        (["a", " a"], "do not repeat"),
        ([5, 5.0], "do not repeat"),
        (["a", "  "], "not empty"),
    ],
)
def test_labels_that_make_no_map(names, message):
    with pytest.raises(DataError, match=message):
        LabelMap(names)


def test_a_map_is_a_value():
    labels = LabelMap(["b", "a"])
    assert labels == LabelMap(("b", "a")) != LabelMap(["a", "b"])
    assert hash(labels) == hash(LabelMap(["b", "a"]))
    assert (len(labels), list(labels), "c" in labels, repr(labels)) == (2, ["b", "a"], False, "LabelMap(['b', 'a'])")
    assert labels != ["b", "a"]
