"""Tensors to bytes and back, judged by TensorFlow's own functions."""

import time

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfllm.errors import InvalidInput
from tfllm.wire import messages, tensors

NUMBERS = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128", "bfloat16",
]  # fmt: skip


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def official_proto(tf):
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    return TensorProto


def dtype_of(name):
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def proto_of(value, proto=None, **options):
    proto = messages.TensorProto() if proto is None else proto
    tensors.fill(proto, value, **options)
    return proto


def sample(name, shape=(2, 3)):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape) - 2
    return values.astype("int64").astype(dtype_of(name))


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("shape", [(2, 3), (0,), (), (1, 1, 1), (0, 4)])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_agree_with_tensorflow_both_ways(tf, official_proto, name, shape, as_content):
    array = sample(name, shape)
    proto = proto_of(array, as_content=as_content)
    theirs = official_proto.FromString(proto.SerializeToString())
    read = tf.make_ndarray(theirs) if array.size else np.zeros(shape, dtype_of(name))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    back = tensors.to_array(messages.TensorProto.FromString(tf.make_tensor_proto(array).SerializeToString()))
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(tensors.to_array(proto), array)


@pytest.mark.parametrize("name", NUMBERS)
def test_typed_fields_are_those_tensorflow_serving_fills(tf, official_proto, name):
    array = sample(name)
    proto = proto_of(array)
    assert not proto.tensor_content
    field = {descriptor.name for descriptor, _ in proto.ListFields()} - {"dtype", "tensor_shape"}
    theirs = official_proto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    flat = array.ravel()
    expected = {
        "bool": "bool_val", "int64": "int64_val", "uint32": "uint32_val", "uint64": "uint64_val",
        "float16": "half_val", "bfloat16": "half_val", "float32": "float_val", "float64": "double_val",
        "complex64": "scomplex_val", "complex128": "dcomplex_val",
    }.get(name, "int_val")  # fmt: skip
    assert field == {expected}
    assert proto.dtype == theirs.dtype
    assert len(getattr(proto, expected)) == flat.size * (2 if array.dtype.kind == "c" else 1)


def test_official_message_classes_work_too(official_proto):
    proto = proto_of(np.float32([[1, 2]]), official_proto())
    assert list(proto.float_val) == [1.0, 2.0]
    np.testing.assert_array_equal(tensors.to_array(proto), [[1.0, 2.0]])


@given(array=hnp.arrays(hnp.floating_dtypes(endianness="?"), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)))
@settings(max_examples=60, deadline=None)
def test_any_float_array_survives(array):
    for as_content in (False, True):
        back = tensors.to_array(proto_of(array, as_content=as_content))
        assert back.shape == array.shape
        np.testing.assert_array_equal(back, array)


@given(values=st.lists(st.one_of(st.binary(max_size=9), st.text(max_size=9).filter(lambda t: t.isprintable()))))
@settings(max_examples=60, deadline=None)
def test_any_text_survives(values):
    expected = [value.encode() if isinstance(value, str) else value for value in values]
    proto = messages.TensorProto()
    tensors.fill_strings(proto, values)
    assert tensors.to_array(proto).tolist() == expected


@pytest.mark.parametrize(
    "value, expected",
    [
        ("é\0", "é\0".encode()),
        (b"\xff\0", b"\xff\0"),
        ([b"a\0", "b"], [b"a\0", b"b"]),
        (np.array(["ab", "c"]), [b"ab", b"c"]),
        (np.array([["a"], ["b"]], object), [[b"a"], [b"b"]]),
        ([], []),
    ],
)
def test_text_keeps_shape_and_bytes(value, expected):
    assert tensors.to_array(proto_of(value)).tolist() == expected


def test_arrays_of_other_memory_layouts():
    array = np.arange(12, dtype=">f4").reshape(3, 4)
    for view in (array, array.T, array[:, ::2], np.asfortranarray(array)):
        for as_content in (False, True):
            back = tensors.to_array(proto_of(view, as_content=as_content))
            assert back.dtype == np.dtype("float32")
            np.testing.assert_array_equal(back, view)


def test_answer_arrays_can_be_written_to():
    for as_content in (False, True):
        back = tensors.to_array(proto_of(np.float32([1, 2]), as_content=as_content))
        back[0] = 9
        assert back.tolist() == [9, 2]


@pytest.mark.parametrize("name", [*NUMBERS, "object"])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_value_counts_other_than_the_shape_follow_tensorflow(tf, official_proto, name, count):
    """As in TensorFlow, the last value is repeated, further values are dropped, and none means zeros."""
    array = np.array([b"a", b"b", b"c", b"d", b"e"], object) if name == "object" else sample(name, (5,))
    proto = proto_of(array[:count])
    proto.tensor_shape.dim[0].size = 3
    theirs = official_proto.FromString(proto.SerializeToString())
    expected = tf.io.parse_tensor(theirs.SerializeToString(), tf.as_dtype(tensors_dtype(name))).numpy()
    np.testing.assert_array_equal(tensors.to_array(proto), expected)


def tensors_dtype(name):
    return "string" if name == "object" else name


def test_packed_text_is_read():
    """TensorFlow Serving packs text like this when it serialises as tensor content."""
    texts = [b"", b"ab", b"x" * 300]
    proto = messages.TensorProto(
        dtype=7, tensor_shape={"dim": [{"size": 3}]}, tensor_content=b"\x00\x02\xac\x02" + b"".join(texts)
    )
    assert tensors.to_array(proto).tolist() == texts
    for broken in (b"\x00\x02", b"\x00\x02\x05abc", b"\xff" * 9):
        proto.tensor_content = broken
        with pytest.raises(InvalidInput, match="Expected"):
            tensors.to_array(proto)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"dtype": 0}, "DataType number 0"),
        ({"dtype": 20}, "DataType number 20"),
        ({"dtype": 1, "tensor_shape": {"dim": [{"size": -1}]}, "float_val": [1]}, r"shape=\(-1,\)"),
        ({"dtype": 1, "tensor_shape": {"unknown_rank": True}}, "shape=unknown"),
        ({"dtype": 1, "tensor_shape": {"dim": [{"size": 2}]}, "tensor_content": b"1234"}, "Expected 8 bytes"),
        ({"dtype": 1, "tensor_shape": {"dim": [{"size": 2**40}]}, "float_val": [1]}, "at most"),
        ({"dtype": 1, "tensor_shape": {"dim": [{"size": 1}] * 40}, "float_val": [1]}, "at most"),
        ({"dtype": 1, "tensor_shape": {"dim": [{"size": 0}, {"size": 2**62}, {"size": 8}]}}, "numpy can hold"),
    ],
)
def test_tensors_that_do_not_fit_together(fields, message):
    with pytest.raises(InvalidInput, match=message):
        tensors.to_array(messages.TensorProto(**fields))


@pytest.mark.parametrize(
    "value, message",
    [
        (np.array(["2020-01-01"], "datetime64[D]"), "dtype=datetime64"),
        (["a", 5], "item 1 of type int"),
        (["a", None], "item 1 of type NoneType"),
        (["a\ud800"], "item 0 with a lone surrogate '\\\\ud800' at character 1"),
        ([[1, 2], [3]], "ragged"),
        ([{}], "item 0 of type dict"),
    ],
)
def test_values_that_are_no_tensor(value, message):
    with pytest.raises(InvalidInput, match=message):
        proto_of(value)


def test_dtype_names():
    assert [tensors.dtype_name(number) for number in (1, 7, 14, 20)] == ["float32", "string", "bfloat16", "type 20"]
    assert tensors.dtype_number(np.array(["a"], object)) == messages.DATA_TYPES["DT_STRING"]


def test_text_is_filled_much_faster_than_by_tensorflow(tf):
    texts = [f"a sentence of usual length, number {number}" for number in range(256)]

    def best(function):
        times = []
        for _ in range(30):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return min(times)

    ours = best(lambda: tensors.fill_strings(messages.TensorProto(), texts))
    theirs = best(lambda: tf.make_tensor_proto(texts))
    assert ours * 4 < theirs
