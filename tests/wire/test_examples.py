"""Rows of features to examples and back, judged by TensorFlow's own classes."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfllm.errors import InvalidInput
from tfllm.wire import examples, messages


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def input_of(rows, context=None):
    proto = messages.Input()
    assert examples.fill_input(proto, rows, context) == len(rows)
    return proto


def official_example(tf, row):
    kinds = {
        bytes: lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)),
        int: lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values)),
        float: lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values)),
    }
    features = {name: kinds[type(values[0])](values) if values else tf.train.Feature() for name, values in row.items()}
    return tf.train.Example(features=tf.train.Features(feature=features))


values = st.one_of(
    st.lists(st.binary(max_size=5), max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    st.lists(st.floats(width=32, allow_nan=False), max_size=4),
)


@given(rows=st.lists(st.dictionaries(st.text(max_size=4), values, max_size=3), max_size=4))
@settings(max_examples=80, deadline=None)
def test_rows_are_tensorflows_examples(tf, rows):
    """Rows with missing features and of different lengths, too: what a sparse batch is made of."""
    found = input_of(rows).example_list.examples
    for ours, row in zip(found, rows, strict=True):
        theirs = official_example(tf, row)
        assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)
        assert messages.Example.FromString(theirs.SerializeToString()) == ours


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [
        ("é", "bytes_list", ["é".encode()]),
        (["a", b"\xff\0"], "bytes_list", [b"a", b"\xff\0"]),
        (np.array(["a", "bc"]), "bytes_list", [b"a", b"bc"]),
        (3, "int64_list", [3]),
        (True, "int64_list", [1]),
        (np.array([1, 2], "uint8"), "int64_list", [1, 2]),
        (np.array([2**62], "uint64"), "int64_list", [2**62]),
        (2.5, "float_list", [2.5]),
        ([1, 2.5], "float_list", [1.0, 2.5]),
        (np.array([[1.5], [2.5]], "float64"), "float_list", [1.5, 2.5]),
        (np.array([1.5], "float16"), "float_list", [1.5]),
        (np.array([1.5], ml_dtypes.bfloat16), "float_list", [1.5]),
    ],
)
def test_values_of_each_kind(value, field, expected):
    feature = input_of([{"f": value}]).example_list.examples[0].features.feature["f"]
    assert feature.WhichOneof("kind") == field
    assert list(getattr(feature, field).value) == expected


def test_a_context_belongs_to_all_rows():
    proto = input_of([{"a": 1}, {}], {"user": "me"})
    assert proto.WhichOneof("kind") == "example_list_with_context"
    assert len(proto.example_list_with_context.examples) == 2
    assert proto.example_list_with_context.context.features.feature["user"].bytes_list.value == [b"me"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a", "Received: str at row 1"),
        ({"f": ["a", 1]}, "feature 'f' of row 1 .int among texts"),
        ({"f": None}, "feature 'f' of row 1"),
        ({"f": 1j}, "dtype complex128"),
        ({"f": 2**63}, "feature 'f' of row 1"),
        ({"f": np.uint64(2**63)}, "feature 'f' of row 1"),
        ({"f": "\ud800"}, "feature 'f' of row 1"),
        ({"f": [[1], [2, 3]]}, "feature 'f' of row 1"),
    ],
)
def test_what_is_no_example_is_named(row, message):
    with pytest.raises(InvalidInput, match=message):
        input_of([{}, row])
    with pytest.raises(InvalidInput, match="Expected"):
        input_of([], context=row)
