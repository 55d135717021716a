"""numpy arrays to TensorProto and back, without TensorFlow.

The functions take any class with TensorProto's fields: the client's own (`tfllm.wire.messages`) and TensorFlow's. They
follow TensorFlow's rules: values are in `tensor_content` or in the one field of their dtype, and where there are fewer
values than the shape asks for, the last one is repeated.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tfllm.errors import InvalidInput

Array = npt.NDArray[Any]


class _Kind(NamedTuple):
    number: int  # of the DataType
    field: str  # that carries the values
    stored: str  # dtype of that field's values
    tag: int = 0  # of that field on the wire, where the values are packed as they are in memory


_KINDS: Final = {
    "float32": _Kind(1, "float_val", "<f4", 0x2A),
    "float64": _Kind(2, "double_val", "<f8", 0x32),
    "int32": _Kind(3, "int_val", "<i4"),
    "uint8": _Kind(4, "int_val", "<i4"),
    "int16": _Kind(5, "int_val", "<i4"),
    "int8": _Kind(6, "int_val", "<i4"),
    "object": _Kind(7, "string_val", "O"),
    "complex64": _Kind(8, "scomplex_val", "<f4", 0x4A),
    "int64": _Kind(9, "int64_val", "<i8"),
    "bool": _Kind(10, "bool_val", "?", 0x5A),
    "bfloat16": _Kind(14, "half_val", "<i4"),
    "uint16": _Kind(17, "int_val", "<i4"),
    "complex128": _Kind(18, "dcomplex_val", "<f8", 0x62),
    "float16": _Kind(19, "half_val", "<i4"),
    "uint32": _Kind(22, "uint32_val", "<u4"),
    "uint64": _Kind(23, "uint64_val", "<u8"),
}
_NAMES: Final = {kind.number: name for name, kind in _KINDS.items()}
_DTYPES: Final = {name: np.dtype(name) for name in _KINDS if name != "bfloat16"}  # that one is not numpy's own

_MAX_BYTES: Final = 2**31 - 1  # of a gRPC message; a shape that asks for more cannot be meant
_MAX_RANK: Final = 32
_FEW: Final = 64


def dtype_name(number: int) -> str:
    """Return numpy's name of a DataType number, `"string"` for text, `"type 20"` for one without a name here."""
    name = _NAMES.get(number, f"type {number}")
    return "string" if name == "object" else name


def dtype_number(array: Array) -> int:
    """Return the DataType number of an array."""
    return _kind(array.dtype).number


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return numpy's dtype of a name of `dtype_name`; that of bfloat16 is the one of ml_dtypes.

    Raises:
        InvalidInput: numpy has no such dtype, or ml_dtypes is not installed.
    """
    if name in _DTYPES:
        return _DTYPES[name]
    if name != "bfloat16":
        raise InvalidInput(f"Expected a dtype that numpy has. Received: {name}.")
    try:
        import ml_dtypes
    except ImportError as error:
        raise InvalidInput("Received: a bfloat16 tensor. Install 'ml_dtypes' for it.") from error
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def fill(proto: Any, value: npt.ArrayLike, *, as_content: bool = False) -> None:
    """Write an array into an empty TensorProto.

    Args:
        proto: the message to write to.
        value: an array, or what numpy makes one of. Text may be `str` or `bytes`.
        as_content: write numbers as raw bytes, which is the fastest, instead of in the field of their dtype.

    Raises:
        InvalidInput: the values have no TensorFlow dtype.
    """
    array = _as_array(value)
    kind = _kind(array.dtype)
    if kind.field == "string_val":
        fill_strings(proto, array.ravel().tolist(), array.shape)
        return
    _fill_header(proto, kind.number, array.shape)
    raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    if as_content:
        proto.tensor_content = raw.tobytes()
    elif kind.tag:
        _merge_packed(proto, kind.tag, raw.tobytes())
    elif kind.field == "half_val":
        proto.half_val.extend(raw.view("<u2").ravel().tolist())
    else:
        getattr(proto, kind.field).extend(raw.ravel().tolist())


def fill_strings(
    proto: Any, values: Sequence[str | bytes], shape: Sequence[int] | None = None, *, first: int = 0
) -> None:
    """Write texts into an empty TensorProto.

    Args:
        proto: the message to write to.
        values: the texts; `str` is encoded as UTF-8, `bytes` is sent as it is.
        shape: the tensor's shape, one dimension if not given.
        first: the position to count from in an error message.

    Raises:
        InvalidInput: an item is no text, or cannot be encoded.
    """
    _fill_header(proto, _KINDS["object"].number, (len(values),) if shape is None else shape)
    proto.string_val.extend(_encode(values, first))


def to_array(proto: Any) -> Array:
    """Read a TensorProto.

    Returns:
        a new array; text comes as `bytes` in an object array.

    Raises:
        InvalidInput: dtype, shape and values do not fit together.
    """
    name = _NAMES.get(proto.dtype)
    if name is None:
        raise InvalidInput(f"Expected a tensor of a known dtype. Received: DataType number {proto.dtype}.")
    dtype = numpy_dtype(name)
    shape, size = _read_shape(proto.tensor_shape, dtype.itemsize)
    content = proto.tensor_content
    if not content:
        flat = _read_field(proto, _KINDS[name], dtype)
        if len(flat) != size:
            flat = _fit(flat, size, dtype)
    elif name == "object":
        flat = _object_array(_split_strings(content, size))
    else:
        flat = _read_content(content, size, dtype)
    if len(shape) == 1:
        return flat
    try:
        return flat.reshape(shape)
    except ValueError as error:
        raise InvalidInput(f"Expected a shape that numpy can hold. Received: shape={shape}.") from error


def _as_array(value: npt.ArrayLike) -> Array:
    """Return an array; fixed-width text becomes objects, from the value itself: it would lose trailing zero bytes."""
    if isinstance(value, bytes | str):
        return _object_array([value]).reshape(())
    try:
        array = np.asarray(value)
        return array if array.dtype.kind not in "SUT" else np.asarray(value, dtype=object)
    except ValueError as error:
        raise InvalidInput(f"Expected rows of equal length. Received: a ragged {type(value).__name__}.") from error


def _kind(dtype: np.dtype[Any]) -> _Kind:
    kind = _KINDS.get(dtype.name)
    if kind is None:
        raise InvalidInput(f"Expected numbers, booleans or text. Received: dtype={dtype}.")
    return kind


def _fill_header(proto: Any, number: int, shape: Sequence[int]) -> None:
    proto.dtype = number
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)


def _merge_packed(proto: Any, tag: int, raw: bytes) -> None:
    """Append packed values to the field of this tag: one copy, where `extend` would make a Python object a value."""
    length, varint = len(raw), bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    proto.MergeFromString(bytes((tag,)) + varint + raw)


def _encode(values: Sequence[Any], first: int) -> list[bytes]:
    try:
        return list(map(str.encode, values))  # all are str: the usual case, and the fastest way
    except (TypeError, UnicodeEncodeError):
        return _encode_each(values, first)


def _encode_each(values: Sequence[Any], first: int) -> list[bytes]:
    try:
        return [value if isinstance(value, bytes) else str.encode(value) for value in values]
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidInput(_what_is_wrong(values, first)) from error


def _what_is_wrong(values: Iterable[object], first: int) -> str:
    """Say which item is no text."""
    for position, value in enumerate(values, first):
        if not isinstance(value, str | bytes):
            return f"Expected str or bytes. Received: item {position} of type {type(value).__name__}."
        try:
            if isinstance(value, str):
                value.encode()
        except UnicodeEncodeError as error:
            return (
                f"Expected text that UTF-8 can encode. Received: item {position} with a lone surrogate "
                f"{value[error.start]!r} at character {error.start}."
            )
    return "Expected str or bytes."


def _read_shape(proto: Any, itemsize: int) -> tuple[tuple[int, ...], int]:
    """Return the shape, and the number of values."""
    shape = tuple([dim.size for dim in proto.dim])
    if proto.unknown_rank or (shape and min(shape) < 0):
        raise InvalidInput(f"Expected a known shape. Received: shape={'unknown' if proto.unknown_rank else shape}.")
    size = math.prod(shape)
    if len(shape) > _MAX_RANK or size * itemsize > _MAX_BYTES:
        raise InvalidInput(
            f"Expected at most {_MAX_RANK} dimensions and {_MAX_BYTES} bytes in one tensor. Received: shape={shape}."
        )
    return shape, size


def _read_content(content: bytes, size: int, dtype: np.dtype[Any]) -> Array:
    if len(content) != size * dtype.itemsize:
        raise InvalidInput(
            f"Expected {size * dtype.itemsize} bytes for {size} values of {dtype}. Received: {len(content)} bytes."
        )
    return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype)


def _read_field(proto: Any, kind: _Kind, dtype: np.dtype[Any]) -> Array:
    values = getattr(proto, kind.field)
    if kind.field == "string_val":
        return _object_array(values[:])
    # A few values are read faster from a list, many from the memory that protobuf hands over.
    stored = np.array(values if len(values) > _FEW else values[:], kind.stored)
    if kind.field == "half_val":
        return stored.astype(np.uint16).view(dtype)
    if dtype.kind == "c":
        return stored[: len(stored) // 2 * 2].view(dtype)
    return stored.astype(dtype, copy=False)


def _fit(values: Array, size: int, dtype: np.dtype[Any]) -> Array:
    """Return `size` values: the first ones, or all and the last one again and again (zeros if there are none)."""
    if len(values) >= size:
        return values[:size]
    blank = b"" if dtype.kind == "O" else 0
    fitted = np.full(size, values[-1] if len(values) else blank, dtype)
    fitted[: len(values)] = values
    return fitted


def _object_array(values: Sequence[object]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _split_strings(content: bytes, count: int) -> list[bytes]:
    """Split TensorFlow's packing of texts: all lengths as varints, then all bytes."""
    lengths: list[int] = []
    at = 0
    while len(lengths) < count:
        length, shift = 0, 0
        while True:
            if at >= len(content) or shift > 28:
                raise InvalidInput(f"Expected {count} text lengths. Received: {len(lengths)} and a broken one.")
            byte = content[at]
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        lengths.append(length)
    if len(content) - at != sum(lengths):
        raise InvalidInput(f"Expected {sum(lengths)} bytes of text. Received: {len(content) - at}.")
    texts = []
    for length in lengths:
        texts.append(content[at : at + length])
        at += length
    return texts
