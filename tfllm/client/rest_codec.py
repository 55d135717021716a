"""TensorFlow Serving's REST API in the place of gRPC's messages: pure functions between protobuf and JSON.

A request that was made for gRPC is said in JSON, and the JSON answer becomes the message that gRPC would have brought,
so that everything above a transport is the same for both.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from google.protobuf import json_format

from tfllm.client.metadata import ModelMetadata, TensorSpec
from tfllm.errors import CALL_ERRORS, CallError, InvalidInput, ServerError, Unimplemented, call_error
from tfllm.wire import messages, tensors

_ANY_TYPE = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
_DEFAULT_SIGNATURE = "serving_default"
_CODES = {
    **{cls.http_status: code for code, cls in CALL_ERRORS.items()},
    400: "INVALID_ARGUMENT",
    409: "ABORTED",
    502: "UNAVAILABLE",  # a proxy has no connection to the server
}
_VERBS = {messages.CLASSIFY: "classify", messages.REGRESS: "regress", messages.PREDICT: "predict"}


@dataclass(frozen=True)
class HttpRequest:
    """A request in HTTP's words.

    Attributes:
        path: the path of the URL.
        body: the JSON document to POST; a GET without it.
    """

    path: str
    body: bytes | None = None


def http_request(method: str, data: bytes) -> HttpRequest:
    """Return a gRPC request in HTTP's words.

    Args:
        method: the full name of gRPC's method.
        data: the serialized request.

    Raises:
        InvalidInput: JSON cannot say the values.
        Unimplemented: REST has no such call.
    """
    if method == messages.GET_MODEL_STATUS:
        return HttpRequest(_path(messages.GetModelStatusRequest.FromString(data).model_spec))
    if method == messages.GET_MODEL_METADATA:
        return HttpRequest(_path(messages.GetModelMetadataRequest.FromString(data).model_spec) + "/metadata")
    if method == messages.PREDICT:
        request = messages.PredictRequest.FromString(data)
        body: dict[str, Any] = {"inputs": {name: _said(name, request.inputs[name]) for name in sorted(request.inputs)}}
    elif method in (messages.CLASSIFY, messages.REGRESS):
        request = messages.ClassificationRequest.FromString(data)  # a RegressionRequest has the same fields
        body = _examples(request.input)
    else:
        raise Unimplemented(f"Expected a call that TensorFlow Serving has over REST. Received: {method}. Use gRPC.")
    if request.model_spec.signature_name:
        body["signature_name"] = request.model_spec.signature_name
    return HttpRequest(f"{_path(request.model_spec)}:{_VERBS[method]}", json.dumps(body, ensure_ascii=False).encode())


def metadata_request(data: bytes) -> bytes:
    """Return the GetModelMetadata request about the version that a Predict request goes to."""
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.CopyFrom(messages.PredictRequest.FromString(data).model_spec)
    request.model_spec.ClearField("signature_name")
    found: bytes = request.SerializeToString()
    return found


def response_of(method: str, data: bytes, body: bytes, found: ModelMetadata | None) -> bytes:
    """Return the serialized response that gRPC would have brought.

    Args:
        method: the full name of gRPC's method.
        data: the serialized request.
        body: the JSON answer.
        found: the model's signatures, for Predict: JSON does not say dtypes.

    Raises:
        ServerError: the answer is no JSON, or not of this API.
    """
    try:
        said = json.loads(body.decode("utf-8", "surrogateescape"))
        if not isinstance(said, dict):
            raise TypeError(f"a JSON {type(said).__name__}")
        if method == messages.GET_MODEL_STATUS:
            response = json_format.ParseDict(said, messages.GetModelStatusResponse(), ignore_unknown_fields=True)
        elif method == messages.GET_MODEL_METADATA:
            response = _metadata(said)
        elif method == messages.PREDICT:
            response = _outputs(messages.PredictRequest.FromString(data), said["outputs"], found)
        elif method == messages.CLASSIFY:
            response = messages.ClassificationResponse()
            for row in said["results"]:
                classes = response.result.classifications.add()
                for label, score in row:
                    classes.classes.add(label=label, score=score)
        else:
            response = messages.RegressionResponse()
            for value in said["results"]:
                response.result.regressions.add(value=value)
    except (ValueError, KeyError, TypeError, json_format.ParseError) as error:
        raise ServerError(
            f"Expected an answer of TensorFlow Serving's REST API. Received: {body[:80]!r} ({error})."
        ) from error
    serialized: bytes = response.SerializeToString()
    return serialized


def error_of(status: int, body: bytes, address: str) -> CallError:
    """Return the error of an HTTP status; what the server said stays word for word."""
    try:
        details = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        details = f"The server answered with HTTP status {status}: {body[:200].decode('utf-8', 'replace')}"
    return call_error(_CODES.get(status, "UNKNOWN"), details, address=address)


def _path(spec: Any) -> str:
    path = f"/v1/models/{quote(spec.name, safe='')}"
    if spec.HasField("version"):
        return f"{path}/versions/{spec.version.value}"
    return f"{path}/labels/{quote(spec.version_label, safe='')}" if spec.version_label else path


def _said(name: str, proto: Any) -> Any:
    """Return a tensor as JSON has it."""
    array = tensors.to_array(proto)
    if array.dtype.kind == "c":
        raise InvalidInput(f"Expected values that JSON can say. Received: {array.dtype} for input '{name}'. Use gRPC.")
    if array.dtype.kind != "O":
        return (array.astype("f4") if array.dtype.name == "bfloat16" else array).tolist()
    texts = np.empty(array.size, object)
    texts[:] = [_text(value) for value in array.ravel()]
    return texts.reshape(array.shape).tolist()


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _examples(proto: Any) -> dict[str, Any]:
    if proto.WhichOneof("kind") == "example_list_with_context":
        found = proto.example_list_with_context
        return {"examples": [_features(row) for row in found.examples], "context": _features(found.context)}
    return {"examples": [_features(row) for row in proto.example_list.examples]}


def _features(example: Any) -> dict[str, Any]:
    row = {}
    for name, feature in sorted(example.features.feature.items()):
        kind = feature.WhichOneof("kind")
        if kind is not None:
            values = list(getattr(feature, kind).value)
            row[name] = [_text(value) for value in values] if kind == "bytes_list" else values
    return row


def _metadata(said: Mapping[str, Any]) -> Any:
    response = messages.GetModelMetadataResponse()
    response.model_spec.name = said["model_spec"]["name"]
    response.model_spec.version.value = int(said["model_spec"]["version"])
    signatures = messages.SignatureDefMap()
    json_format.ParseDict(said["metadata"]["signature_def"], signatures, ignore_unknown_fields=True)
    response.metadata["signature_def"].type_url = _ANY_TYPE
    response.metadata["signature_def"].value = signatures.SerializeToString()
    return response


def _outputs(request: Any, said: Any, found: ModelMetadata | None) -> Any:
    """Return a PredictResponse; a single output comes without its name."""
    name = request.model_spec.signature_name or _DEFAULT_SIGNATURE
    specs = found.signatures[name].outputs if found is not None else {}
    values = said if len(specs) > 1 else {only: said for only in specs}
    wanted = list(request.output_filter) or sorted(values)
    if missing := [output for output in wanted if output not in values]:
        raise InvalidInput(f"output tensor alias not found in signature: {missing[0]}")
    response = messages.PredictResponse(model_spec={"name": request.model_spec.name, "signature_name": name})
    for output in wanted:
        tensors.fill(response.outputs[output], _array(values[output], specs[output]), as_content=True)
    return response


def _array(value: Any, spec: TensorSpec) -> np.typing.NDArray[Any]:
    if spec.dtype != "string":
        return np.asarray(value, "f4" if spec.dtype == "bfloat16" else spec.dtype)
    array = np.asarray(value, object)
    texts = np.empty(array.size, object)
    texts[:] = [
        base64.b64decode(item["b64"]) if isinstance(item, dict) else item.encode("utf-8", "surrogateescape")
        for item in array.ravel()
    ]
    return texts.reshape(array.shape)
