import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfllm.errors import ExportError
from tfllm.exporting.encoder_weights import read_encoder
from tfllm.exporting.inference_graph import InferenceGraph
from tfllm.exporting.late_constants import LateConstants
from tfllm.tasks.heads import Head

MATRIX = np.random.default_rng(0).normal(size=(40, 40)).astype("float32")
OTHER = MATRIX.T + 1


def save(folder, constants, dtype=tf.float32):
    def run(x):
        def body(step, value):
            value = tf.cast(tf.matmul(tf.cast(value, dtype), constants(MATRIX, dtype)), tf.float32)
            return step + 1, value + tf.cast(constants(OTHER, dtype)[0], tf.float32) * tf.cast(
                constants(MATRIX, dtype)[0, 0], tf.float32
            )

        return {"y": tf.while_loop(lambda step, value: step < 2, body, (0, x))[1]}

    module = tf.Module()
    module.run = tf.function(run, input_signature=[tf.TensorSpec([None, 40], tf.float32, "x")])
    tf.saved_model.save(module, str(folder), signatures=module.run)
    return folder


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_the_saved_graph_is_the_one_with_constants(tmp_path, dtype):
    late = LateConstants()
    save(tmp_path / "late", late, dtype)
    size = (tmp_path / "late" / "saved_model.pb").stat().st_size
    late.write_into(tmp_path / "late")
    grown = (tmp_path / "late" / "saved_model.pb").stat().st_size - size
    assert abs(grown - 2 * MATRIX.size * dtype.size) < 200  # each of the two once
    save(tmp_path / "now", LateConstants(late=False), dtype)
    x = tf.ones([3, 40]) * 0.1
    answers = [
        tf.saved_model.load(str(tmp_path / name)).signatures["serving_default"](x=x)["y"] for name in ("late", "now")
    ]
    np.testing.assert_array_equal(*answers)
    assert np.abs(answers[0]).max() > 0


def test_a_weight_that_is_not_in_the_file(tmp_path):
    late = LateConstants()
    save(tmp_path, late)
    file = tmp_path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    del saved.meta_graphs[0].graph_def.library.function[:]
    file.write_bytes(saved.SerializeToString())
    with pytest.raises(ExportError, match="Received: one without 2"):
        late.write_into(tmp_path)


def test_a_graph_without_its_weights_does_not_run(micro_model):
    graph = InferenceGraph(read_encoder(micro_model.backbone), Head("cls", ()), constants=LateConstants())
    with pytest.raises(ExportError, match="that is to be saved"):
        graph(micro_model.preprocess(tf.constant(["a film"])))
