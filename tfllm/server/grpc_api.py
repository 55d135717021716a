"""The gRPC face of the engine: TensorFlow Serving's PredictionService and ModelService."""

from typing import Any

import grpc
from tensorflow_serving.apis import (  # type: ignore[import-untyped]
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfllm.errors import InvalidInput
from tfllm.server.engine import Engine, Target
from tfllm.wire import messages, tensors


def add_services(server: grpc.Server, engine: Engine) -> None:
    """Make a gRPC server answer for an engine."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(engine), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(engine), server)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """The PredictionService of an engine. A method raises `CallError`; the interceptor makes a status of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Run a signature."""
        servable = self._engine.find(_target(request))
        signature = servable.signature(request.model_spec.signature_name)
        outputs = servable.run(signature, signature.read_inputs(request.inputs), request.output_filter)
        response = predict_pb2.PredictResponse()
        _fill_spec(response.model_spec, request, servable.version)
        response.model_spec.signature_name = signature.name
        for alias, array in outputs.items():
            tensors.fill(response.outputs[alias], array)
        return response

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return the signatures of a model."""
        target = _target(request)
        if not request.metadata_field:
            raise InvalidInput("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise InvalidInput(f"Metadata field {field} is not supported")
        servable = self._engine.find(target)
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in servable.signatures.items():
            found.signature_def[name].CopyFrom(signature.definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _fill_spec(response.model_spec, request, servable.version)
        response.metadata["signature_def"].Pack(found)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """The ModelService of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return the states of a model's versions; like TensorFlow Serving, a label is not looked at."""
        target = _target(request)
        response = get_model_status_pb2.GetModelStatusResponse()
        for item in self._engine.status(target.model, target.version):
            row = response.model_version_status.add(version=item.source.version, state=int(item.state))
            row.status.SetInParent()
            if item.error is not None:
                row.status.error_code = messages.CODES[item.error.code]
                row.status.error_message = item.error.details
        return response


def _target(request: Any) -> Target:
    if not request.HasField("model_spec"):
        raise InvalidInput("Missing ModelSpec")
    spec = request.model_spec
    return Target(
        spec.name,
        spec.version.value if spec.HasField("version") else None,
        spec.version_label if spec.HasField("version_label") else None,
    )


def _fill_spec(spec: Any, request: Any, version: int) -> None:
    spec.name = request.model_spec.name
    spec.version.value = version
