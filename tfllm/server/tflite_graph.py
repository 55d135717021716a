"""A TensorFlow Lite model behind the same door as a SavedModel's graph.

Its signatures are those of the file: of its metadata (as TensorFlow Serving reads them), else the converter's, else one
named `serving_default` with the names of the tensors.
"""

import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]
from flatbuffers import flexbuffers  # type: ignore[import-untyped]
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef  # type: ignore[import-untyped]
from tensorflow.lite.tools import flatbuffer_utils  # type: ignore[import-untyped]

from tfllm.errors import Cancelled, FailedPrecondition, InvalidInput, ServerError
from tfllm.server.signatures import DEFAULT_SIGNATURE, Array, Signature

FILE = "model.tflite"
"""The model, relative to a version's folder."""

_PREDICT = "tensorflow/serving/predict"
_METADATA = b"signature_defs_metadata"


class TfliteGraph:
    """A TensorFlow Lite model; requests run one after the other.

    Args:
        path: the file.

    Attributes:
        signatures: signature name -> signature.

    Raises:
        FailedPrecondition: the file is no model that can be run.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            data = path.read_bytes()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that the class will move to another package
                self._interpreter: Any = tf.lite.Interpreter(model_content=data)
            self._interpreter.allocate_tensors()
            self._inputs = _by_name(self._interpreter.get_input_details())
            self._outputs = _by_name(self._interpreter.get_output_details())
            found = dict(_metadata_signatures(data)) or dict(self._converter_signatures()) or self._plain_signature()
            self.signatures = {name: Signature(name, self._complete(found[name])) for name in sorted(found)}
        except (OSError, RuntimeError, ValueError) as error:
            raise FailedPrecondition(f"Cannot load the TensorFlow Lite model '{path}': {error}") from error

    def run(self, feeds: tuple[str, ...], fetches: tuple[str, ...], arrays: Sequence[Array]) -> list[Any]:
        """Run the model between named tensors.

        Args:
            feeds: the names of the tensors to give.
            fetches: the names of the tensors to return.
            arrays: what to give.

        Raises:
            InvalidInput: an array does not fit.
            ServerError: the model failed.
        """
        with self._lock:
            if self._interpreter is None:
                raise Cancelled("The model has been unloaded.")
            try:
                for feed, array in zip(feeds, arrays, strict=True):
                    self._give(self._inputs[feed], array)
            except (RuntimeError, ValueError) as error:
                raise InvalidInput(str(error)) from error
            try:
                self._interpreter.invoke()
            except RuntimeError as error:
                raise ServerError(f"Failed to run interpreter: {error}") from error
            return [self._interpreter.get_tensor(self._outputs[fetch]["index"]) for fetch in fetches]

    def close(self) -> None:
        """Free the memory, once no request is under way."""
        with self._lock:
            self._interpreter = None

    def _give(self, details: dict[str, Any], array: Array) -> None:
        index, shape = details["index"], self._interpreter.get_tensor(details["index"]).shape
        if array.size == np.prod(shape, dtype=int):
            array = array.reshape(shape)  # TensorFlow Serving copies what has as many bytes
        elif array.shape != shape:
            self._interpreter.resize_tensor_input(index, array.shape)
            self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(index, array)

    def _converter_signatures(self) -> Iterator[tuple[str, Any]]:
        for name in self._interpreter.get_signature_list():
            runner = self._interpreter.get_signature_runner(name)
            definition = SignatureDef()
            for alias, details in runner.get_input_details().items():
                definition.inputs[alias].name = details["name"]
            for alias, details in runner.get_output_details().items():
                definition.outputs[alias].name = details["name"]
            yield name, definition

    def _plain_signature(self) -> dict[str, Any]:
        definition = SignatureDef()
        for name in self._inputs:
            definition.inputs[name].name = name
        for name in self._outputs:
            definition.outputs[name].name = name
        return {DEFAULT_SIGNATURE: definition}

    def _complete(self, definition: Any) -> Any:
        """Fill in what the tensors say: dtypes and shapes."""
        definition.method_name = definition.method_name or _PREDICT
        for side, details in ((definition.inputs, self._inputs), (definition.outputs, self._outputs)):
            for info in side.values():
                name = info.name if info.name in details else info.name.partition(":")[0]
                if name not in details:
                    raise FailedPrecondition(
                        f"Expected a tensor '{info.name}' of a signature. Available: {[*details]}."
                    )
                found = details[name]
                info.name = name
                info.dtype = tf.as_dtype(found["dtype"]).as_datatype_enum
                info.ClearField("tensor_shape")
                info.tensor_shape.SetInParent()
                for size in found["shape_signature"]:
                    info.tensor_shape.dim.add(size=int(size))
        return definition


def _by_name(details: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in details}


def _metadata_signatures(data: bytes) -> Iterator[tuple[str, Any]]:
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(data))
    for entry in model.metadata or ():
        if entry.name == _METADATA:
            found = flexbuffers.GetRoot(bytes(model.buffers[entry.buffer].data)).AsMap
            for key, value in zip(found.Keys, found.Values, strict=True):
                yield key.AsKey, SignatureDef.FromString(value.AsStringBytes)
