"""Weights that are constants of a graph, but are written into the saved file only: `LateConstants`.

TensorFlow copies a graph's constants many times over while it traces and saves (ten times the weights for BERT-large).
So the graph is traced and saved with constants of the right shape and no content, and the content goes from the arrays
straight into the file (protobuf's encoding: fields of a message are tag, length and content, in any order).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2

from tfllm.errors import ExportError

_SMALL = 1024
"""Constants with fewer numbers are put into the graph at once."""

_LARGEST = 2**31 - 1
"""Bytes of a message (protobuf)."""

_NAME = re.compile(r"(?:^|/)late_constant_([0-9]+)x")


@dataclass(frozen=True)
class _Content:
    """The content of a constant, which is brought into its form when it is written."""

    array: np.ndarray
    dtype: tf.DType

    @property
    def size(self) -> int:
        return int(self.array.size) * self.dtype.size

    def content(self) -> memoryview:
        return memoryview(np.ascontiguousarray(self.array, self.dtype.as_numpy_dtype).view("uint8").reshape(-1))


_Part = bytes | _Content


class LateConstants:
    """The constants of a graph that is to be saved.

    Args:
        late: False for a graph that also runs here, whose constants have their content at once.
    """

    def __init__(self, *, late: bool = True) -> None:
        self.late = late
        self._contents: list[tuple[np.ndarray, tf.DType]] = []
        self._made: dict[tuple[int, int, str], tf.Tensor] = {}

    def __call__(self, array: np.ndarray, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return an array as a constant of the graph that is being traced; one array is one constant there."""
        key = (id(tf.compat.v1.get_default_graph()), id(array), dtype.name)
        if key not in self._made:
            self._made[key] = self._make(array, dtype)
        return self._made[key]

    def _make(self, array: np.ndarray, dtype: tf.DType) -> tf.Tensor:
        if not self.late or array.size < _SMALL:
            return tf.constant(array, dtype)
        self._contents.append((array, dtype))
        return tf.constant(0.0, dtype, array.shape, name=f"late_constant_{len(self._contents) - 1}x")

    def write_into(self, folder: Path) -> None:
        """Put the contents into the SavedModel of the graph.

        Raises:
            ExportError: the SavedModel does not have one of the constants, or would be larger than a message may be.
        """
        if not self._contents:
            return
        file = folder / "saved_model.pb"
        parts, written = self._parts(saved_model_pb2.SavedModel.FromString(file.read_bytes()))
        if missing := set(range(len(self._contents))) - written:
            raise ExportError(f"Expected all weights in the SavedModel's graph. Received: one without {len(missing)}.")
        if (size := sum(map(_size, parts))) > _LARGEST:
            raise ExportError(
                f"Expected weights of at most 2 GB, beside the tables, since they are part of one message. "
                f"Received: {size / 1e9:.1f} GB. Export with precision='bfloat16', which needs half."
            )
        with file.open("wb") as stream:
            for part in parts:
                stream.write(part if isinstance(part, bytes) else part.content())

    def _parts(self, saved: Any) -> tuple[list[_Part], set[int]]:
        """Return the message in parts, with the contents, and which of them it has.

        A message is its own fields, in any order, one after the other: so what leads to a constant is written field by
        field, and the rest as it is.
        """
        written: set[int] = set()
        (meta_graph,) = saved.meta_graphs
        functions: list[_Part] = []
        for function in meta_graph.graph_def.library.function:
            nodes: list[_Part] = []
            for node in function.node_def:
                match = _NAME.search(node.name) if node.op == "Const" else None
                if match is not None:
                    written.add(int(match[1]))
                nodes += _field(
                    function, "node_def", [_whole(node)] if match is None else self._filled(node, int(match[1]))
                )
            function.ClearField("node_def")
            functions += _field(meta_graph.graph_def.library, "function", [_whole(function), *nodes])
        meta_graph.graph_def.library.ClearField("function")
        library = _field(meta_graph.graph_def, "library", [_whole(meta_graph.graph_def.library), *functions])
        meta_graph.graph_def.ClearField("library")
        graph = _field(meta_graph, "graph_def", [_whole(meta_graph.graph_def), *library])
        meta_graph.ClearField("graph_def")
        meta_graphs = _field(saved, "meta_graphs", [_whole(meta_graph), *graph])
        saved.ClearField("meta_graphs")
        return [_whole(saved), *meta_graphs], written

    def _filled(self, node: Any, number: int) -> list[_Part]:
        array, dtype = self._contents[number]
        tensor = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
        tensor.tensor_shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
        del node.attr["value"]
        content = _field(tensor, "tensor_content", [_Content(array, dtype)])
        value = _field(attr_value_pb2.AttrValue(), "tensor", [_whole(tensor), *content])
        entry = [*_tag(1, len(b"value")), b"value", *_tag(2, sum(map(_size, value))), *value]  # of a map: key and value
        return [_whole(node), *_field(node, "attr", entry)]


def _whole(message: Any) -> bytes:
    found: bytes = message.SerializeToString(deterministic=True)
    return found


def _size(part: _Part) -> int:
    return len(part) if isinstance(part, bytes) else part.size


def _field(message: Any, name: str, parts: list[_Part]) -> list[_Part]:
    return [*_tag(message.DESCRIPTOR.fields_by_name[name].number, sum(map(_size, parts))), *parts]


def _tag(number: int, size: int) -> list[_Part]:
    """Return the beginning of a field that is a message, a text or bytes (wire type 2)."""
    return [_varint(number << 3 | 2), _varint(size)]


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
