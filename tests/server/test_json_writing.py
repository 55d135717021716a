import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfllm.errors import InvalidInput
from tfllm.server.json_writing import write_columns, write_decimals, write_rows, write_value


@given(st.floats(width=32))
def test_a_decimal_reads_back_as_itself(value):
    (text,) = write_decimals(np.array([value], np.float32))
    read = np.float32(json.loads(text))
    assert math.isnan(read) if math.isnan(value) else read == np.float32(value)


@given(st.floats())
def test_a_long_decimal_too(value):
    (text,) = write_decimals(np.array([value], np.float64))
    assert math.isnan(json.loads(text)) if math.isnan(value) else json.loads(text) == value


@pytest.mark.parametrize(
    "value, text",
    [(1, "1.0"), (0.5, "0.5"), (0.2, "0.2"), (9e6, "9e+06"), (3e-5, "3e-05"), (0.119202912, "0.119202912")],
)
def test_the_form_of_decimals(value, text):
    assert write_decimals(np.array([value], np.float32)) == [text]


@pytest.mark.parametrize("shape", [(), (0,), (2,), (2, 3), (2, 0), (0, 2), (2, 1, 2), (2, 0, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool, np.uint8])
def test_arrays_of_any_shape(shape, dtype):
    array = np.ones(shape, dtype)
    assert json.loads(write_columns({"y": array})) == {"outputs": array.tolist()}
    assert json.loads(write_columns({"y": array, "z": array}))["outputs"] == {"y": array.tolist(), "z": array.tolist()}
    if shape:
        assert json.loads(write_rows({"y": array})) == {"predictions": array.tolist()}
        both = [{"y": item, "z": item} for item in array.tolist()]
        assert json.loads(write_rows({"y": array, "z": array})) == {"predictions": both}


def test_columns_over_lines():
    text = write_columns({"y": np.float32([[1, 2]])})
    assert text == '{\n    "outputs": [\n        [\n            1.0,\n            2.0\n        ]\n    ]\n}'


def test_values_in_messages():
    assert write_value({"a": [1, 2.5, "x"], "b": {}}) == '{\n    "a": [1, 2.5, "x"],\n    "b": {}\n}'


def test_dtypes_without_a_form():
    with pytest.raises(InvalidInput, match="Failed to write JSON value for tensor type: complex64"):
        write_columns({"y": np.complex64([1])})
