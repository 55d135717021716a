"""JSON values as inputs of a signature: rows (`instances`) and columns (`inputs`), with TensorFlow Serving's checks."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tfllm.errors import CallError, InvalidInput, Unimplemented
from tfllm.server.json_writing import write_value
from tfllm.server.signatures import Array, Signature, dtype_text
from tfllm.wire import messages

_TYPES: Mapping[type, str] = {
    type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number",
}  # fmt: skip
_MAX_RANK = 64  # numpy's
_BLANK = re.compile(r"\s+")
_Shape = tuple[int, ...]


class _Kind(NamedTuple):
    stored: type[Any] | str  # numpy dtype of the values
    cast: str  # numpy dtype of the tensor
    low: int = 0
    high: int = 0  # of whole numbers


_FLOATS = {"DT_FLOAT": (np.float32, 24), "DT_DOUBLE": (np.float64, 53)}
_INT32 = (-(2**31), 2**31 - 1)
_WHOLE = {
    "DT_INT32": _Kind("int32", "int32", *_INT32),
    "DT_INT16": _Kind("int32", "int16", *_INT32),
    "DT_INT8": _Kind("int32", "int8", *_INT32),
    "DT_UINT8": _Kind("int32", "uint8", *_INT32),
    "DT_INT64": _Kind("int64", "int64", -(2**63), 2**63 - 1),
    "DT_UINT32": _Kind("uint32", "uint32", 0, 2**32 - 1),
    "DT_UINT64": _Kind("uint64", "uint64", 0, 2**64 - 1),
}
_NAMES = {number: name for name, number in messages.DATA_TYPES.items()}


def read_predict(document: Any, signature: Signature) -> tuple[dict[str, Array], bool]:
    """Return the inputs of a predict body, and whether they came as rows.

    Raises:
        CallError: the body does not fit the signature.
    """
    if "instances" in document:
        if "inputs" in document:
            raise body_error(
                document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            )
        instances = document["instances"]
        if not isinstance(instances, list):
            raise body_error(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise body_error(document, "No values in 'instances' array")
        return _read_rows(instances, _input_types(signature)), True
    if "inputs" in document:
        return _read_columns(document["inputs"], _input_types(signature)), False
    raise InvalidInput("Missing 'inputs' or 'instances' key")


def body_error(value: Any, reason: str) -> InvalidInput:
    """Return the error of a body that is JSON but not what is asked for."""
    return InvalidInput(f"JSON Value: {write_value(value)} {reason}")


def json_type(value: Any) -> str:
    """Return the name of a value's type in JSON."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return _TYPES[type(value)]


def is_base64(value: Any) -> bool:
    """Tell whether a value is `{"b64": "..."}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: Any) -> bytes:
    """Return the bytes of `{"b64": "..."}`.

    Raises:
        InvalidInput: it is something else, or no base64.
    """
    if not is_base64(value):
        raise body_error(value, "not formatted correctly for base64 data")
    text = _BLANK.sub("", value["b64"]).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("Unable to base64 decode") from error


def lossless(value: float, digits: int) -> bool:
    """Tell whether a number fits a floating-point type whose mantissa has so many bits."""
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return bool(abs(value) <= 2**digits - 1)
    limit = float(np.finfo(np.float32 if digits == 24 else np.float64).max)
    return bool(not np.isfinite(float(value)) or abs(float(value)) <= limit)


def _input_types(signature: Signature) -> dict[str, int]:
    return {alias: signature.definition.inputs[alias].dtype for alias in signature.feeds}


class _Column:
    """The values of one input, row after row."""

    def __init__(self, dtype: int) -> None:
        self.dtype = dtype
        self.values: list[Any] = []
        self.shape: _Shape | None = None

    def add(self, item: Any) -> None:
        """Add a row, which has the shape of the first."""
        shape = _checked(_shape(item))
        before = len(self.values)
        _fill(item, 0, shape, _converter(self.dtype), self)
        size = len(self.values) - before
        if self.shape is None:
            self.shape, self.size = shape, size
        elif size != self.size:
            raise InvalidInput(f"Expecting tensor size: {self.size} but got: {size}")
        elif shape != self.shape:
            raise InvalidInput(f"Expecting shape {_list(self.shape)} but got: {_list(shape)}")

    def array(self, shape: _Shape) -> Array:
        name = _NAMES[self.dtype]
        if name == "DT_STRING":
            array = np.empty(len(self.values), object)
            array[:] = self.values
        elif name in _WHOLE:
            array = np.array(self.values, _WHOLE[name].stored).astype(_WHOLE[name].cast)
        else:
            array = np.array(self.values, bool if name == "DT_BOOL" else _FLOATS[name][0])
        return array.reshape(_checked(shape))


def _read_rows(instances: list[Any], types: Mapping[str, int]) -> dict[str, Array]:
    if not isinstance(instances[0], dict) and len(types) > 1:
        raise InvalidInput(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    columns = {alias: _Column(dtype) for alias, dtype in types.items()}
    named = _is_named(instances[0])
    only = next(iter(columns.values()))
    for position, item in enumerate(instances):
        where = f"Failed to process element: {position}"
        if named != _is_named(item):
            raise InvalidInput(
                f"Expecting {'object but got list' if named else 'value/list but got object'} "
                f"at item {position} of input list"
            )
        if named:
            _add_object(columns, item, where)
        else:
            _add(only, item, f"{where} of 'instances' list.")
    filled = columns if named else dict([next(iter(columns.items()))])
    return {alias: column.array((len(instances), *(column.shape or ()))) for alias, column in filled.items()}


def _add_object(columns: Mapping[str, _Column], item: Mapping[str, Any], where: str) -> None:
    for name, value in item.items():
        place = f"{where} key: {name} of 'instances' list."
        if name not in columns:
            raise InvalidInput(f"{place} Error: INVALID_ARGUMENT: JSON object: does not have named input: {name}")
        _add(columns[name], value, place)
    if item.keys() != columns.keys():
        raise InvalidInput(
            f"{where} of 'instances' list. JSON object: {write_value(item)} "
            f"keys must be equal to: {','.join(sorted(columns))}"
        )


def _add(column: _Column, item: Any, place: str) -> None:
    try:
        column.add(item)
    except CallError as error:
        raise InvalidInput(f"{place} Error: {error.code}: {error.details}") from error


def _is_named(item: Any) -> bool:
    return isinstance(item, dict) and not is_base64(item)


def _read_columns(inputs: Any, types: Mapping[str, int]) -> dict[str, Array]:
    if not _is_named(inputs):
        if len(types) > 1:
            raise InvalidInput(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        inputs = dict.fromkeys(types, inputs)
    arrays = {}
    for alias, dtype in types.items():
        if alias not in inputs:
            raise InvalidInput(f"Missing named input: {alias} in 'inputs' object.")
        column = _Column(dtype)
        column.add(inputs[alias])
        arrays[alias] = column.array(column.shape or ())
    return arrays


def _shape(item: Any) -> _Shape:
    """Return the shape of nested lists, as the first item of each says."""
    shape = []
    while isinstance(item, list):
        shape.append(len(item))
        if not item:
            break
        item = item[0]
    return tuple(shape)


def _checked(shape: _Shape) -> _Shape:
    if len(shape) > _MAX_RANK:
        raise InvalidInput(f"Expecting tensor with at most {_MAX_RANK} dimensions but got: {len(shape)}")
    return shape


def _fill(item: Any, level: int, shape: _Shape, convert: Callable[[Any], Any], column: _Column) -> None:
    if not isinstance(item, list):
        if level != len(shape):
            raise InvalidInput(
                f"JSON Value: {write_value(item)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        column.values.append(convert(item))
        return
    if level >= len(shape):
        raise InvalidInput(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(item) != shape[level]:
        raise InvalidInput(
            f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {shape[level]}"
        )
    for part in item:
        _fill(part, level + 1, shape, convert, column)


def _converter(dtype: int) -> Callable[[Any], Any]:
    """Return what turns a JSON value into one of a dtype."""
    name = _NAMES[dtype]
    if name in _WHOLE:
        return partial(_whole, dtype)
    if name in _FLOATS:
        return partial(_decimal, dtype)
    return partial({"DT_STRING": _text, "DT_BOOL": _flag}.get(name, _unknown), dtype)


def _text(dtype: int, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return decode_base64(value)
    raise _wrong_type(dtype, value)


def _flag(dtype: int, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong_type(dtype, value)


def _whole(dtype: int, value: Any) -> int:
    kind = _WHOLE[_NAMES[dtype]]
    if type(value) is int and kind.low <= value <= kind.high:
        return value
    raise _wrong_type(dtype, value)


def _decimal(dtype: int, value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise _wrong_type(dtype, value)
    if not lossless(value, _FLOATS[_NAMES[dtype]][1]):
        raise InvalidInput(
            f"Cannot convert JSON value: {write_value(value)} to {dtype_text(dtype)} without loss of precision."
        )
    return value


def _unknown(dtype: int, value: Any) -> Any:
    raise Unimplemented(f"Conversion of JSON Value: {write_value(value)} to type: {dtype_text(dtype)}")


def _wrong_type(dtype: int, value: Any) -> InvalidInput:
    return InvalidInput(
        f"JSON Value: {write_value(value)} Type: {json_type(value)} is not of expected type: {dtype_text(dtype)}"
    )


def _list(shape: _Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
