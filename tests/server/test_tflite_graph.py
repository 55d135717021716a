"""TensorFlow Lite models: their signatures, and how inputs reach their tensors."""

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from flatbuffers import flexbuffers
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tfllm.errors import Cancelled, FailedPrecondition
from tfllm.server.tflite_graph import TfliteGraph


class HalfPlusTwo(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, name="x")])
    def half(self, x):
        return {"y": x / 2.0 + 2.0}


@pytest.fixture(scope="module")
def half_plus_two():
    """Return the bytes of a converted model."""
    module = HalfPlusTwo()
    return tf.lite.TFLiteConverter.from_concrete_functions([module.half.get_concrete_function()], module).convert()


@pytest.fixture
def write(tmp_path, half_plus_two):
    """Return what writes the model with another list of signatures or other metadata, and loads it."""

    def write(*, converter_signatures=True, metadata=None):
        model = flatbuffer_utils.convert_bytearray_to_object(bytearray(half_plus_two))
        if not converter_signatures:
            model.signatureDefs = []
        if metadata is not None:
            entry, buffer = schema.MetadataT(), schema.BufferT()
            entry.name, entry.buffer, buffer.data = b"signature_defs_metadata", len(model.buffers), list(metadata)
            model.buffers.append(buffer)
            model.metadata.append(entry)
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        (tmp_path / "model.tflite").write_bytes(builder.Output())
        return TfliteGraph(tmp_path / "model.tflite")

    return write


def answer(graph, values, name="serving_default"):
    signature = graph.signatures[name]
    (array,) = graph.run(tuple(signature.feeds.values()), tuple(signature.fetches.values()), [np.float32(values)])
    return array.tolist()


def test_signatures_of_the_converter(write):
    graph = write()
    signature = graph.signatures["serving_default"]
    assert (list(signature.feeds), list(signature.fetches)) == (["x"], ["y"])
    info = signature.definition.inputs["x"]
    assert (info.dtype, [dim.size for dim in info.tensor_shape.dim]) == (1, [1])
    assert signature.definition.method_name == "tensorflow/serving/predict"
    assert answer(graph, [2]) == [3]


def test_other_shapes(write):
    graph = write()
    assert answer(graph, [[2]]) == [3]  # as many bytes
    assert answer(graph, [2, 4, 6]) == [3, 4, 5]
    assert answer(graph, []) == []
    assert answer(graph, [2]) == [3]


def test_tensors_without_signatures(write):
    graph = write(converter_signatures=False)
    (signature,) = graph.signatures.values()
    assert signature.name == "serving_default"
    assert signature.feeds == {"serving_default_x:0": "serving_default_x:0"}
    assert answer(graph, [2]) == [3]


def test_signatures_of_the_metadata(write):
    definition = SignatureDef(method_name="m")
    definition.inputs["input"].name = "serving_default_x:0"
    definition.outputs["output"].name = "PartitionedCall:0"
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key("half")
        builder.String(definition.SerializeToString().decode())
    graph = write(metadata=builder.Finish())
    assert list(graph.signatures) == ["half"]
    assert graph.signatures["half"].definition.method_name == "m"
    assert answer(graph, [2], "half") == [3]
    definition.inputs["input"].name = "nope"
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key("half")
        builder.String(definition.SerializeToString().decode())
    with pytest.raises(FailedPrecondition, match="Expected a tensor 'nope' of a signature"):
        write(metadata=builder.Finish())


def test_what_is_no_model(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"nonsense")
    with pytest.raises(FailedPrecondition, match="Cannot load the TensorFlow Lite model"):
        TfliteGraph(tmp_path / "model.tflite")


def test_closed(write):
    graph = write()
    graph.close()
    with pytest.raises(Cancelled):
        answer(graph, [2])
