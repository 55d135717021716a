"""The answers of TensorFlow Serving to questions about models, word for word."""

import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from serving_requests import TYPES, fill, floats, refusal
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


@pytest.fixture(scope="module")
def metadata(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(fields, **spec):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        fill(request.model_spec, **spec)
        return stub.GetModelMetadata(request, timeout=30)

    return ask


def test_metadata_is_the_signature_map(metadata, models):
    response = metadata(["signature_def"])
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 2)
    assert not response.model_spec.signature_name
    assert list(response.metadata) == ["signature_def"]
    packed = response.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    found = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(found)
    assert {"serving_default", "pair", "text"} <= set(found.signature_def)
    pair = found.signature_def["pair"]
    assert pair.method_name == "tensorflow/serving/predict"
    assert sorted(pair.outputs) == ["minus", "plus"]
    info = pair.inputs["a"]
    assert (info.name, info.dtype) == ("pair_a:0", TYPES.DT_FLOAT)
    assert [dim.size for dim in info.tensor_shape.dim] == [-1]


def test_metadata_of_tensorflow_1_and_of_a_version(metadata):
    response = metadata(["signature_def"], model="classic")
    found = get_model_metadata_pb2.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    assert found.signature_def["regress"].method_name == "tensorflow/serving/regress"
    assert metadata(["signature_def"], version=1).model_spec.version.value == 1


@pytest.mark.parametrize(
    "fields, options, code, message",
    [
        ([], {}, "INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field"),
        (["nope"], {}, "INVALID_ARGUMENT", "Metadata field nope is not supported"),
        (["signature_def"], {"model": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
    ],
)
def test_refusals_of_metadata(metadata, fields, options, code, message):
    assert refusal(metadata, fields, **options) == (code, message)


@pytest.fixture(scope="module")
def status(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)

    def ask(**spec):
        request = get_model_status_pb2.GetModelStatusRequest()
        fill(request.model_spec, **spec)
        response = stub.GetModelStatus(request, timeout=30)
        rows = response.model_version_status
        assert all(row.HasField("status") for row in rows)
        return [(row.version, row.state, row.status.error_code, row.status.error_message) for row in rows]

    return ask


def test_status_is_newest_first_and_ignores_labels(status):
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    both = [(2, available, 0, ""), (1, available, 0, "")]
    assert status() == both
    assert status(label="nope") == both
    assert status(version=1) == both[1:]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model": "nope"}, "Could not find any versions of model nope"),
        ({"version": 99}, "Could not find version 99 of model toy"),
    ],
)
def test_refusals_of_status(status, options, message):
    assert refusal(status, **options) == ("NOT_FOUND", message)


def test_requests_without_a_model_spec(channel):
    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    missing = ("INVALID_ARGUMENT", "Missing ModelSpec")
    assert refusal(prediction.Predict, predict_pb2.PredictRequest(inputs={"x": floats(2)})) == missing
    fields = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    assert refusal(prediction.GetModelMetadata, fields) == missing
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    assert refusal(models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()) == missing


def test_methods_that_are_not_there(channel):
    assert refusal(channel.unary_unary("/tensorflow.serving.SessionService/SessionRun"), b"")[0] == "UNIMPLEMENTED"
    assert refusal(channel.unary_unary("/nowhere/Nothing"), b"")[0] == "UNIMPLEMENTED"


def test_tools_can_ask_for_the_services(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)

    def ask(**question):
        return next(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=10))

    names = {item.name for item in ask(list_services="").list_services_response.service}
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= names
    answer = ask(file_containing_symbol="tensorflow.serving.PredictionService").file_descriptor_response
    file = descriptor_pb2.FileDescriptorProto.FromString(answer.file_descriptor_proto[0])
    assert [method.name for method in file.service[0].method][:3] == ["Classify", "Regress", "Predict"]
