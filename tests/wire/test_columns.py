"""Columns hold the values of arrays, whichever way they were read."""

import numpy as np
import pytest

from tfllm.errors import InvalidInput
from tfllm.wire import messages, tensors
from tfllm.wire.columns import to_column


def proto_of(value, **options):
    proto = messages.TensorProto()
    tensors.fill(proto, value, **options)
    return proto


def plain(column):
    return column.tolist() if isinstance(column, np.ndarray) else column


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool", "object"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (5,), (1, 2), (3, 1), (0, 4), (4, 0), (2, 3, 2), (65,), (8, 9)])
def test_columns_hold_what_arrays_hold(shape, dtype, as_content):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape) / 3
    value = values.astype(str).astype(object) if dtype == "object" else values.astype(dtype)
    proto = proto_of(value, as_content=as_content)
    assert plain(to_column(proto)) == tensors.to_array(proto).tolist()


@pytest.mark.parametrize("value", [["a", "b"], np.array([[0.1, 0.2]], "float32")])
def test_few_texts_and_floats_are_lists(value):
    assert isinstance(to_column(proto_of(value)), list)


def test_a_value_that_stands_for_several_is_repeated():
    proto = proto_of(np.full(1, 0.5, "float32"))
    proto.tensor_shape.dim[0].size = 3
    assert plain(to_column(proto)) == [0.5, 0.5, 0.5]


def test_what_has_no_shape_is_refused():
    proto = proto_of(["a"])
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(InvalidInput, match="shape=unknown"):
        to_column(proto)


def test_sizes_below_zero_are_refused():
    proto = proto_of(np.ones((2, 2), "float32"))
    for dim in proto.tensor_shape.dim:
        dim.size = -2
    with pytest.raises(InvalidInput, match="Received: shape"):
        to_column(proto)
