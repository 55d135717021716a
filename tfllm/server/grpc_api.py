"""The gRPC face of the engine: TensorFlow Serving's PredictionService and ModelService."""

from typing import Any

import grpc
from tensorflow_serving.apis import (  # type: ignore[import-untyped]
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfllm.errors import CallError, InvalidInput
from tfllm.server.config_file import read_model_configs
from tfllm.server.engine import Engine, Target
from tfllm.server.inference import classify, infer_all, regress
from tfllm.server.manager import ModelManager
from tfllm.server.observers import current_event
from tfllm.server.signatures import DEFAULT_SIGNATURE
from tfllm.server.versions import ServedVersion
from tfllm.wire import messages, tensors

SERVICES = tuple(
    service.full_name
    for file in (prediction_service_pb2.DESCRIPTOR, model_service_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
)
"""The names of the services, described in the default descriptor pool."""


def add_services(server: grpc.Server, engine: Engine, manager: ModelManager, *, as_content: bool = False) -> None:
    """Make a gRPC server answer for an engine; numbers are answered as raw bytes if so asked."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(engine, as_content), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(engine, manager), server)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """The PredictionService of an engine. A method raises `CallError`; the interceptor makes a status of it."""

    def __init__(self, engine: Engine, as_content: bool = False) -> None:
        self._engine = engine
        self._as_content = as_content

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Run a signature."""
        response = predict_pb2.PredictResponse()
        with self._engine.use(_target(request)) as servable:
            signature = servable.signature(request.model_spec.signature_name)
            outputs = servable.run(signature, signature.read_inputs(request.inputs), request.output_filter)
            _fill_spec(response.model_spec, request, servable.version)
        response.model_spec.signature_name = signature.name
        for alias, array in outputs.items():
            tensors.fill(response.outputs[alias], array, as_content=self._as_content)
        return response

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Run a signature that gives classes for rows of `tf.Example`."""
        response = classification_pb2.ClassificationResponse()
        with self._engine.use(_target(request)) as servable:
            classify(servable, request.model_spec.signature_name, request.input, response.result)
            _fill_spec(response.model_spec, request, servable.version)
        response.model_spec.signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        return response

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Run a signature that gives one value for each row of `tf.Example`."""
        response = regression_pb2.RegressionResponse()
        with self._engine.use(_target(request)) as servable:
            regress(servable, request.model_spec.signature_name, request.input, response.result)
            _fill_spec(response.model_spec, request, servable.version)
        response.model_spec.signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        return response

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Run several signatures on the same rows."""
        response = inference_pb2.MultiInferenceResponse()
        target = _target(request.tasks[0]) if request.tasks else Target("")
        with self._engine.use(target) as servable:
            infer_all(servable, request, response)
        return response

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return the signatures of a model."""
        target = _target(request)
        if not request.metadata_field:
            raise InvalidInput("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise InvalidInput(f"Metadata field {field} is not supported")
        found = get_model_metadata_pb2.SignatureDefMap()
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        fill_metadata(response, found, self._engine, target)
        response.metadata["signature_def"].Pack(found)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """The ModelService of an engine."""

    def __init__(self, engine: Engine, manager: ModelManager) -> None:
        self._engine = engine
        self._manager = manager

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return the states of a model's versions; like TensorFlow Serving, a label is not looked at."""
        target = _target(request)
        response = get_model_status_pb2.GetModelStatusResponse()
        fill_status(response, self._engine, target)
        return response

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Serve the models of a new configuration and no others; returns once they are loaded."""
        rights = current_event().rights
        if rights is not None:
            rights.require_admin()
        if not request.config.HasField("model_config_list"):
            raise InvalidInput(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        failed = self._manager.reload(read_model_configs(request.config.model_config_list))
        if failed:
            raise CallError(
                f"{len(failed)} servable(s) did not become available: {{{', '.join(map(_reason, failed))}}}"
            )
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response


def fill_metadata(response: Any, signatures: Any, engine: Engine, target: Target) -> None:
    """Fill the model of a GetModelMetadataResponse, and a SignatureDefMap.

    Raises:
        CallError: there is no such model.
    """
    with engine.use(target) as servable:
        for name, signature in servable.signatures.items():
            signatures.signature_def[name].CopyFrom(signature.definition)
        response.model_spec.name = target.model
        response.model_spec.version.value = servable.version


def fill_status(response: Any, engine: Engine, target: Target) -> None:
    """Fill a GetModelStatusResponse.

    Raises:
        ModelNotFound: there is no such model or version.
    """
    for item in engine.status(target.model, target.version):
        row = response.model_version_status.add(version=item.source.version, state=int(item.state))
        row.status.SetInParent()
        if item.error is not None:
            row.status.error_code = messages.CODES[item.error.code]
            row.status.error_message = item.error.details


def _reason(item: ServedVersion) -> str:
    details = item.error.details if item.error else ""
    return f"{{name: {item.source.name} version: {item.source.version}}} due to error: {details}"


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
