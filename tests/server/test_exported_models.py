"""The rows of TensorFlow Serving's tables of errors, asked of a model that `export` wrote."""

import http.client
import json

import grpc
import pytest
from serving_requests import TYPES, fill, floats, refusal, tensor
from tensorflow.core.example.example_pb2 import Example
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfllm.exporting.saved_model import export
from tfllm.server.server import serve
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.tasks.text_regressor import TextRegressor

pytestmark = pytest.mark.slow
TEXT = {"text": tensor(TYPES.DT_STRING, [2], string_val=[b"good film", b"\xff"])}
SHAPE = "Expected texts with 1 dimensions for input 'text'. Received: 0 dimensions."


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a server of a classifier of texts and of a regressor of pairs."""
    folder = tmp_path_factory.mktemp("exported")
    export(TextClassifier.from_preset("micro_bert", labels=["bad", "good"]), folder / "reviews")
    export(TextRegressor.from_preset("micro_bert", value_range=(0.0, 5.0)), folder / "likeness", pairs=True)
    with serve(folder, port=0, rest_api_port=0) as server:
        yield server


@pytest.fixture(scope="module")
def stub(exported):
    with grpc.insecure_channel(exported.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict(stub, inputs, outputs=(), **spec):
    request = predict_pb2.PredictRequest(inputs=inputs, output_filter=outputs)
    fill(request.model_spec, **{"model": "reviews", **spec})
    return stub.Predict(request, timeout=30)


def test_answers(stub):
    response = predict(stub, TEXT)
    assert sorted(response.outputs) == ["label", "score", "scores"]
    assert response.outputs["scores"].tensor_shape.dim[1].size == 2
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (1, "serving_default")
    assert list(predict(stub, TEXT, ["label"]).outputs) == ["label"]


@pytest.mark.parametrize(
    "inputs, options, code, message",
    [
        (TEXT, {"version": 9}, "NOT_FOUND", "Servable not found for request: Specific(reviews, 9)"),
        (TEXT, {"model": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        (TEXT, {"model": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (TEXT, {"label": "stable"}, "INVALID_ARGUMENT", "Unrecognized servable version label: stable"),
        (TEXT, {"signature": "nope"}, "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        (
            {},
            {},
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({text}). Sent extra: {}. "
            "Missing but required: {text}.",
        ),
        (
            {"nope": TEXT["text"]},
            {},
            "INVALID_ARGUMENT",
            "Signature input alias: text(feed name: serving_default_text:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {nope}, or default input alias set: ",
        ),
        ({"text": floats(1)}, {}, "INVALID_ARGUMENT", "Expects arg[0] to be string but float is provided"),
        ({"text": tensor(TYPES.DT_INVALID, [1])}, {}, "INVALID_ARGUMENT", "tensor parsing error: text"),
        ({"text": tensor(TYPES.DT_STRING, [], string_val=[b"a"])}, {}, "INVALID_ARGUMENT", SHAPE),
        (
            TEXT,
            {"outputs": ["nope"]},
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: nope Outputs expected to be in the set {label,score,scores}.",
        ),
        (TEXT, {"outputs": ["label"] * 2}, "INVALID_ARGUMENT", "duplicate output tensor alias: label"),
    ],
)
def test_refusals(stub, inputs, options, code, message):
    assert refusal(predict, stub, inputs, **options) == (code, message)


def test_what_names_no_model(stub):
    assert refusal(stub.Predict, predict_pb2.PredictRequest(inputs=TEXT)) == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_states_and_metadata(exported, stub):
    with grpc.insecure_channel(exported.address) as channel:
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "reviews"
        (state,) = models.GetModelStatus(request, timeout=30).model_version_status
        assert (state.version, state.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
        request.model_spec.name = "nope"
        code, message = refusal(models.GetModelStatus, request)
        assert code == "NOT_FOUND" and "nope" in message
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "reviews"
    found = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request, timeout=30).metadata["signature_def"].Unpack(found)
    assert {"serving_default", "tokens", "classify"} <= found.signature_def.keys()
    assert sorted(found.signature_def["serving_default"].inputs) == ["text"]


def rows(*texts):
    """Return rows as `tf.Example`."""
    found = input_pb2.Input()
    for row in texts:
        example = found.example_list.examples.add()
        for name, text in row.items():
            example.features.feature[name].bytes_list.value.append(text)
    return found


def test_classify(stub):
    request = classification_pb2.ClassificationRequest(input=rows({"text": b"good film"}, {"text": b"\xff"}))
    fill(request.model_spec, "reviews", signature="classify")
    found = stub.Classify(request, timeout=30).result.classifications
    assert [[item.label for item in row.classes] for row in found] == [["bad", "good"]] * 2
    scores = [item.score for row in found for item in row.classes]
    assert scores == pytest.approx(list(predict(stub, TEXT).outputs["scores"].float_val), abs=1e-6)
    del request.input.example_list.examples[1].features.feature["text"]
    code, message = refusal(stub.Classify, request)
    assert code == "INVALID_ARGUMENT" and "Feature: text (data type: string) is required" in message


def test_regress_pairs(stub):
    pair = {"text": b"good film", "text_pair": b"a film"}
    request = regression_pb2.RegressionRequest(input=rows(pair))
    fill(request.model_spec, "likeness", signature="regress")
    (found,) = stub.Regress(request, timeout=30).result.regressions
    texts = {name: tensor(TYPES.DT_STRING, [1], string_val=[text]) for name, text in pair.items()}
    (expected,) = predict(stub, texts, model="likeness").outputs["value"].float_val
    assert found.value == pytest.approx(expected, abs=1e-6)


def test_classify_by_rest(exported, stub):
    connection = http.client.HTTPConnection("127.0.0.1", exported.rest_api_port, timeout=30)
    body = {"signature_name": "classify", "examples": [{"text": "good film"}]}
    connection.request("POST", "/v1/models/reviews:classify", json.dumps(body))
    (row,) = json.loads(connection.getresponse().read())["results"]
    assert [label for label, _ in row] == ["bad", "good"]
    assert [score for _, score in row] == pytest.approx(list(predict(stub, TEXT).outputs["scores"].float_val)[:2])


def test_signatures_that_are_not_of_examples(stub):
    request = classification_pb2.ClassificationRequest()
    fill(request.model_spec, "reviews")
    request.input.example_list.examples.append(Example())
    assert refusal(stub.Classify, request) == ("INVALID_ARGUMENT", "Expected one or two output Tensors, found 3")


@pytest.mark.parametrize(
    "body, status, message",
    [
        (b"", 400, "JSON Parse error: The document is empty"),
        (b"{}", 400, "Missing 'inputs' or 'instances' key"),
        (
            b'{"instances": [5]}',
            400,
            "Failed to process element: 0 of 'instances' list. "
            "Error: INVALID_ARGUMENT: JSON Value: 5 Type: Number is not of expected type: string",
        ),
        (
            b'{"signature_name": "nope", "instances": ["a"]}',
            400,
            'Serving signature name: "nope" not found in signature def',
        ),
        (b'{"instances": ["good film", {"b64": "/w=="}]}', 200, None),
    ],
)
def test_rest(exported, body, status, message):
    connection = http.client.HTTPConnection("127.0.0.1", exported.rest_api_port, timeout=30)
    connection.request("POST", "/v1/models/reviews:predict", body)
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert response.status == status
    if message is None:
        assert [sorted(row) for row in answer["predictions"]] == [["label", "score", "scores"]] * 2
    else:
        assert answer == {"error": message}


def test_the_page_offers_what_takes_texts(exported):
    connection = http.client.HTTPConnection("127.0.0.1", exported.rest_api_port, timeout=30)
    connection.request("GET", "/tfllm/stats")
    models = json.loads(connection.getresponse().read())["models"]
    assert [sorted(model["signatures"]) for model in models] == [["serving_default", "tokens"]] * 2
