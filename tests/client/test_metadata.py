from tfllm.client import metadata
from tfllm.client.calls import Target
from tfllm.client.metadata import TensorSpec, VersionStatus
from tfllm.wire import messages


def test_a_status_request_asks_for_all_versions():
    data = metadata.status_request(Target("m", version=3, signature="s"))
    assert messages.GetModelStatusRequest.FromString(data).model_spec == messages.ModelSpec(name="m")


def test_a_metadata_request_asks_for_the_signatures_of_the_version():
    data = metadata.metadata_request(Target("m", version=3, signature="s"))
    request = messages.GetModelMetadataRequest.FromString(data)
    assert list(request.metadata_field) == ["signature_def"]
    assert request.model_spec == messages.ModelSpec(name="m", version={"value": 3})


def test_states_and_errors_have_names():
    response = messages.GetModelStatusResponse()
    response.model_version_status.add(version=2, state=50, status={"error_code": 5, "error_message": "no file"})
    response.model_version_status.add(version=1, state=30)
    response.model_version_status.add(version=0, state=77, status={"error_code": 99})
    assert metadata.statuses_of(response.SerializeToString()) == [
        VersionStatus(2, "END", "NOT_FOUND", "no file"),
        VersionStatus(1, "AVAILABLE", "OK", ""),
        VersionStatus(0, "77", "99", ""),
    ]


def test_signatures_are_read():
    found = messages.SignatureDefMap()
    signature = found.signature_def["s"]
    signature.method_name = "tensorflow/serving/predict"
    signature.inputs["text"].dtype = 7
    signature.inputs["text"].tensor_shape.dim.add(size=-1)
    signature.inputs["text"].tensor_shape.dim.add(size=3)
    signature.outputs["any"].dtype = 20
    signature.outputs["any"].tensor_shape.unknown_rank = True
    response = messages.GetModelMetadataResponse(model_spec={"name": "m", "version": {"value": 3}})
    response.metadata["signature_def"].value = found.SerializeToString()
    read = metadata.metadata_of(response.SerializeToString())
    assert (read.model, read.version, list(read.signatures)) == ("m", 3, ["s"])
    assert read.signatures["s"].method_name == "tensorflow/serving/predict"
    assert read.signatures["s"].inputs == {"text": TensorSpec("string", (None, 3))}
    assert read.signatures["s"].outputs == {"any": TensorSpec("type 20", None)}
