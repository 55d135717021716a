"""`tfllm serve` as TensorFlow Serving's own end-to-end test starts its server: the flags, the layout, the calls.

The models are like those of that test: half plus two, with a classify and a regress signature, in folders whose names
are numbers of eight digits; one is a TensorFlow Lite model.
"""

import http.client
import json
import socket
import subprocess
import sys

import grpc
import pytest
import tensorflow as tf
from serving_requests import fill, floats, refusal
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

v1 = tf.compat.v1
define = v1.saved_model.signature_def_utils


def write_half_plus(folder, offset):
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], name="tf_example")
        features = {"x": tf.io.FixedLenFeature([1], tf.float32), "x2": tf.io.FixedLenFeature([1], tf.float32, [0.0])}
        x = tf.identity(v1.parse_example(examples, features)["x"], name="x")
        half = v1.get_variable("a", initializer=0.5)
        y = tf.add(half * x, offset, name="y")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder / "00000123"))
        signatures = {
            "serving_default": define.predict_signature_def({"x": x}, {"y": y}),
            "regress_x_to_y": define.regression_signature_def(examples, y),
            "classify_x_to_y": define.classification_signature_def(examples, None, y),
        }
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


class HalfPlusTwo(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def half(self, x):
        return {"y": x / 2.0 + 2.0}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return the channel, the REST port and the socket of a server of all three models."""
    folder = tmp_path_factory.mktemp("end_to_end")
    write_half_plus(folder / "half_plus_two", 2.0)
    write_half_plus(folder / "half_plus_three", 3.0)
    (folder / "lite" / "00000123").mkdir(parents=True)
    module = HalfPlusTwo()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.half.get_concrete_function()], module)
    (folder / "lite" / "00000123" / "model.tflite").write_bytes(converter.convert())
    models = "".join(
        f'config {{ name: "{name}" base_path: "{folder}/{name}" model_platform: "tensorflow" }}\n'
        for name in ("half_plus_two", "half_plus_three", "lite")
    )
    (folder / "models.config").write_text(f"model_config_list {{ {models} }}")
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    (folder / "batching.config").write_text("max_batch_size { value: 10 } batch_timeout_micros { value: 1000 }")
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, rest_port = probe.getsockname()[1], other.getsockname()[1]
    path = folder / "tf-serving.sock"
    command = [
        *[sys.executable, "-m", "tfllm", "serve", f"--port={port}", f"--rest_api_port={rest_port}"],
        *["--rest_api_timeout_in_ms=5000", f"--grpc_socket_path={path}"],
        *[f"--model_config_file={folder}/models.config", "--model_config_file_poll_wait_seconds=1"],
        *[f"--monitoring_config_file={folder}/monitoring.config", "--prefer_tflite_model=true", "--enable_batching"],
        f"--batching_parameters_file={folder}/batching.config",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb,grpc.so_reuseaddr=1",
        *["--flush_filesystem_caches=false", "--num_load_threads=2"],
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("Serving half_plus_two, half_plus_three, lite on ")
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            yield channel, rest_port, path
    finally:
        process.terminate()
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0
        assert "--num_load_threads changes nothing here" in said


@pytest.fixture(scope="module")
def stub(server):
    return prediction_service_pb2_grpc.PredictionServiceStub(server[0])


def request_of(kind, signature=None, model="half_plus_two"):
    request = kind()
    fill(request.model_spec, model, signature=signature)
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    return request


def predict(stub, model="half_plus_two", shape=(1,), outputs=("y",)):
    request = predict_pb2.PredictRequest(inputs={"x": floats(2)}, output_filter=outputs)
    del request.inputs["x"].tensor_shape.dim[:]
    for size in shape:
        request.inputs["x"].tensor_shape.dim.add(size=size)
    fill(request.model_spec, model)
    return stub.Predict(request, timeout=30)


def test_a_missing_model_shows_that_it_is_ready(stub):
    code, details = refusal(predict, stub, "intentionally_missing_model")
    assert code == "NOT_FOUND" and "Servable" in details


@pytest.mark.parametrize("model, y", [("half_plus_two", 3.0), ("half_plus_three", 4.0)])
def test_predict(stub, model, y):
    for outputs in (("y",), ()):
        response = predict(stub, model, outputs=outputs)
        assert list(response.outputs["y"].float_val) == [y]
        spec = response.model_spec
        assert (spec.name, spec.signature_name, spec.version.value) == (model, "serving_default", 123)


def test_predict_with_tensorflow_lite(stub):
    for shape in ((1, 1), (1,)):
        response = predict(stub, "lite", shape)
        assert list(response.outputs["y"].float_val) == [3.0]
    assert response.model_spec.version.value == 123


def test_predict_through_the_socket(server):
    with grpc.insecure_channel(f"unix:{server[2]}") as channel:
        response = predict(prediction_service_pb2_grpc.PredictionServiceStub(channel))
    assert list(response.outputs["y"].float_val) == [3.0]


def test_classify_regress_and_both(stub):
    classified = stub.Classify(request_of(classification_pb2.ClassificationRequest, "classify_x_to_y"), timeout=30)
    assert [item.score for item in classified.result.classifications[0].classes] == [3.0]
    assert classified.model_spec.signature_name == "classify_x_to_y" and classified.model_spec.version.value == 123
    regressed = stub.Regress(request_of(regression_pb2.RegressionRequest, "regress_x_to_y"), timeout=30)
    assert [item.value for item in regressed.result.regressions] == [3.0]
    request = inference_pb2.MultiInferenceRequest()
    for kind in ("regress", "classify"):
        task = request.tasks.add(method_name=f"tensorflow/serving/{kind}")
        fill(task.model_spec, "half_plus_two", signature=f"{kind}_x_to_y")
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    results = stub.MultiInference(request, timeout=30).results
    assert results[0].regression_result.regressions[0].value == 3.0
    assert results[1].classification_result.classifications[0].classes[0].score == 3.0


def test_status_and_metadata(server, stub):
    request = get_model_status_pb2.GetModelStatusRequest()
    fill(request.model_spec, "half_plus_two")
    (row,) = model_service_pb2_grpc.ModelServiceStub(server[0]).GetModelStatus(request, timeout=30).model_version_status
    assert (row.version, row.status.error_code) == (123, 0)
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    fill(asked.model_spec, "half_plus_two")
    found = stub.GetModelMetadata(asked, timeout=30)
    assert (found.model_spec.name, found.model_spec.version.value) == ("half_plus_two", 123)
    assert len(found.metadata) == 1


@pytest.mark.parametrize(
    "call, body, answer",
    [
        (":predict", {"instances": [2.0, 3.0, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),
        (":predict", {"inputs": [2.0, 3.0, 4.0]}, {"outputs": [3.0, 3.5, 4.0]}),
        (":classify", {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}, {"results": [[["", 3.0]]]}),
        (":regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}, {"results": [3.0]}),
        ("/versions/123", None, None),
        ("/metadata", None, None),
    ],
)
def test_rest(server, call, body, answer):
    connection = http.client.HTTPConnection("127.0.0.1", server[1], timeout=30)
    path = f"/v1/models/half_plus_two{call}"
    connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
    response = connection.getresponse()
    found = json.loads(response.read())
    assert response.status == 200
    assert answer is None or found == answer
    if call == "/metadata":
        assert found["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
        assert found["metadata"]["signature_def"]["signature_def"]["serving_default"]["defaults"] == {}


def test_metrics(server):
    connection = http.client.HTTPConnection("127.0.0.1", server[1], timeout=30)
    connection.request("GET", "/monitoring/prometheus/metrics")
    assert "# TYPE" in connection.getresponse().read().decode()
