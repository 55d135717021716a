"""Generic calls: every dtype through a real server, and errors that name what the model takes."""

import ml_dtypes
import numpy as np
import pytest

from tfllm.client.calls import Target
from tfllm.client.hints import SignatureCache
from tfllm.client.metadata import ModelMetadata
from tfllm.errors import FailedPrecondition, InvalidInput

NUMBERS = (
    *("float16", "float32", "float64", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


@pytest.mark.parametrize("dtype", [*NUMBERS, ml_dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 2)], ids=str)
def test_every_dtype_comes_back(client_for, dtype, shape):
    array = (np.arange(np.prod(shape)).reshape(shape) * 1.5).astype(dtype)
    if np.dtype(dtype).kind == "c":
        array = array * (1 + 2j)
    found = client_for(model="mirror").predict_arrays({"x": array.astype(dtype)}, np.dtype(dtype).name)["y"]
    assert found.dtype == np.dtype(dtype) and found.shape == (2, *shape)
    np.testing.assert_array_equal(found, np.stack([array, array]))


@pytest.mark.parametrize(
    "value, sent",
    [("é", "é".encode()), (b"\xff\0", b"\xff\0"), (["a", b""], [b"a", b""]), ([["a"], ["b"]], [[b"a"], [b"b"]])],
)
def test_text_of_any_shape_comes_back(client_for, value, sent):
    found = client_for(model="mirror").predict_arrays({"x": value}, "string")["y"]
    assert found.dtype == object and found.shape == (2, *np.shape(value))
    assert found.tolist() == [sent, sent]


@pytest.mark.parametrize(
    "inputs, signature, error_class, hint",
    [
        ({"y": [[1.0, 2.0]]}, "numbers", InvalidInput, "takes x: float32 [any, 2] and gives double: float32 [any, 2]"),
        ({"x": ["a"]}, "numbers", InvalidInput, "takes x: float32 [any, 2]"),
        ({"x": ["a"]}, "number", FailedPrecondition, "has no signature 'number'. Did you mean 'numbers'?"),
    ],
)
def test_a_mismatch_names_the_real_inputs_and_outputs(client, inputs, signature, error_class, hint):
    with pytest.raises(error_class) as caught:
        client.predict_arrays(inputs, signature)
    assert hint in str(caught.value) and caught.value.hint.startswith("Version 4 of model 'echo'")


def test_what_was_looked_up_is_remembered_by_version():
    seconds = 100.0
    cache = SignatureCache(lambda: seconds)
    newest, fixed = Target("m"), Target("m", version=3)
    assert cache.get(newest) is cache.get(fixed) is None
    found = ModelMetadata("m", 3, {})
    cache.put(newest, found)
    assert cache.get(newest) is found and cache.get(fixed) is None and cache.get(Target("m", label="x")) is None
    cache.put(fixed, found)
    seconds += 1000
    assert cache.get(newest) is None and cache.get(fixed) is found
