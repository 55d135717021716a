"""Answers as TensorFlow Serving writes them: its line breaks, its numbers, its `_bytes` rule.

Numbers have the shortest of two forms that reads back as the same value, and whole ones keep a `.0`. NaN and Infinity
are written as such, which strict JSON parsers refuse.
"""

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfllm.errors import InvalidInput
from tfllm.server.signatures import Array, tensorflow_dtype

_DIGITS = {"float32": 9, "float16": 9, "float64": 17}
_INDENT = "    "


def write_value(value: Any) -> str:
    """Write a parsed JSON value as it is shown in error messages: objects over lines, arrays in one.

    Raises:
        InvalidInput: it is nested too deeply.
    """
    try:
        return _write_nested(value, 0)
    except RecursionError as error:
        raise InvalidInput("JSON Parse error: Nested too deeply.") from error


def _write_nested(value: Any, level: int) -> str:
    if isinstance(value, dict):
        if not value:
            return "{}"
        inner = _INDENT * (level + 1)
        members = (f"{inner}{write_text(name)}: {_write_nested(item, level + 1)}" for name, item in value.items())
        return "{\n" + ",\n".join(members) + f"\n{_INDENT * level}}}"
    if isinstance(value, list):
        return "[" + ", ".join(_write_nested(item, level + 1) for item in value) + "]"
    if isinstance(value, float):
        return write_decimals(np.array([value]))[0]
    return write_text(value) if isinstance(value, str) else json.dumps(value)


def write_text(text: str) -> str:
    """Write a text; what is no ASCII stays as it is."""
    return json.dumps(text, ensure_ascii=False)


def write_error(message: str) -> str:
    """Write the body of a refused request."""
    return f'{{\n{_INDENT}"error": {write_text(message)}\n}}'


def write_rows(outputs: Mapping[str, Array]) -> str:
    """Write the outputs of a signature, one value or object a row.

    Raises:
        InvalidInput: the outputs are not batched alike, or have a dtype that JSON has no form for.
    """
    sizes: set[int] = set()
    for name, array in outputs.items():
        if not array.ndim:
            raise InvalidInput(f"Tensor name: {name} has no shape information ")
        if sizes and len(array) not in sizes:
            raise InvalidInput(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {min(sizes)}")
        sizes.add(len(array))
    columns = {name: _write_items(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        (rows,) = columns.values()
        return _list_in_line("predictions", rows)
    inner = _INDENT * 3
    objects = [
        f"{_INDENT * 2}{{\n"
        + ",\n".join(f"{inner}{write_text(name)}: {item}" for name, item in zip(columns, row, strict=True))
        + f"\n{_INDENT * 2}}}"
        for row in zip(*columns.values(), strict=True)
    ]
    if not objects:
        return f'{{\n{_INDENT}"predictions": []\n}}'
    return f'{{\n{_INDENT}"predictions": [\n' + ",\n".join(objects) + f"\n{_INDENT}]\n}}"


def write_columns(outputs: Mapping[str, Array]) -> str:
    """Write the outputs of a signature, each whole.

    Raises:
        InvalidInput: an output has a dtype that JSON has no form for.
    """
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return f'{{\n{_INDENT}"outputs": {_write_array(name, array, 1)}\n}}'
    members = (f"{_INDENT * 2}{write_text(name)}: {_write_array(name, array, 2)}" for name, array in outputs.items())
    return f'{{\n{_INDENT}"outputs": {{\n' + ",\n".join(members) + f"\n{_INDENT}}}\n}}"


def write_classes(result: Any) -> str:
    """Write a ClassificationResult."""
    rows = []
    for row in result.classifications:
        scores = write_decimals(np.array([item.score for item in row.classes], np.float32))
        pairs = (f"[{write_text(item.label)}, {score}]" for item, score in zip(row.classes, scores, strict=True))
        rows.append("[" + ", ".join(pairs) + "]")
    return _list_in_line("results", rows)


def write_values(result: Any) -> str:
    """Write a RegressionResult."""
    values = write_decimals(np.array([item.value for item in result.regressions], np.float32))
    return f'{{\n{_INDENT}"results": [{", ".join(values)}]\n}}'


def write_decimals(values: Array) -> list[str]:
    """Write floating-point numbers, each so that it reads back as the same number of its dtype."""
    digits = _DIGITS[values.dtype.name]
    return [_write_decimal(value, digits, values.dtype.type) for value in values.ravel().tolist()]


def _write_decimal(value: float, digits: int, kind: Any) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:g}"
    if float(text) != value and (kind is np.float64 or float(np.float32(text)) != value):
        text = f"{value:.{digits}g}"
    return text if "." in text or "e" in text else text + ".0"


def _list_in_line(key: str, items: list[str]) -> str:
    if not items:
        return f'{{\n{_INDENT}"{key}": []\n}}'
    return f'{{\n{_INDENT}"{key}": [{", ".join(items)}\n{_INDENT}]\n}}'


def _write_items(name: str, array: Array) -> list[str]:
    """Write each item of the first dimension, in one line."""
    items = _write_scalars(name, array, _INDENT * 4)
    for axis in reversed(range(1, array.ndim)):
        size = array.shape[axis]
        count = math.prod(array.shape[:axis])
        items = ["[" + ", ".join(items[at * size : (at + 1) * size]) + "]" for at in range(count)]
    return items


def _write_array(name: str, array: Array, level: int) -> str:
    """Write a whole array over lines."""
    items = _write_scalars(name, array, _INDENT * (level + array.ndim + 1))
    for axis in reversed(range(array.ndim)):
        size, inner = array.shape[axis], _INDENT * (level + axis + 1)
        outer = inner[: -len(_INDENT)]
        groups = (items[at * size : (at + 1) * size] for at in range(math.prod(array.shape[:axis])))
        items = [_over_lines(group, inner, outer) for group in groups]
    return items[0]


def _over_lines(items: list[str], inner: str, outer: str) -> str:
    return "[\n" + ",\n".join(inner + item for item in items) + f"\n{outer}]" if items else "[]"


def _write_scalars(name: str, array: Array, indent: str) -> list[str]:
    """Write every value; bytes become an object over lines."""
    if array.dtype == object:
        return _write_strings(name, array, indent)
    if array.dtype.name in _DIGITS:
        return write_decimals(array)
    if array.dtype == bool:
        return ["true" if value else "false" for value in array.ravel().tolist()]
    if array.dtype.kind in "iu" and array.dtype != np.uint16:
        return [str(value) for value in array.ravel().tolist()]
    raise InvalidInput(f"Failed to write JSON value for tensor type: {tensorflow_dtype(array)}")


def _write_strings(name: str, array: Array, indent: str) -> list[str]:
    values = array.ravel().tolist()
    if not name.endswith("_bytes"):
        return [write_text(value.decode("utf-8", "surrogateescape")) for value in values]
    close = indent[: -len(_INDENT)]
    return [f'{{\n{indent}"b64": "{base64.b64encode(value).decode()}"\n{close}}}' for value in values]
