"""The message classes of TensorFlow Serving, made in a private descriptor pool.

The default pool can hold a message name only once, so classes of these names there would clash with TensorFlow's own as
soon as both are in one process. In a pool of their own they live beside them, and their bytes are the same.
`descriptors.binpb` is `tf_serving.proto` compiled; `make protos` writes it anew.
"""

from importlib.resources import files
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass


def _load_pool() -> DescriptorPool:
    pool = DescriptorPool()
    for name in (
        "descriptors.binpb",
        "prediction_log.binpb",
        "profiler.binpb",
    ):  # the second needs the files of the first
        descriptors = FileDescriptorSet.FromString(files(__package__).joinpath(name).read_bytes())
        for file in descriptors.file:
            pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL: Final = _load_pool()
"""The private pool."""


def _message_class(name: str) -> Any:
    return GetMessageClass(POOL.FindMessageTypeByName(name))


TensorProto = _message_class("tensorflow.TensorProto")
TensorShapeProto = _message_class("tensorflow.TensorShapeProto")
TensorInfo = _message_class("tensorflow.TensorInfo")
SignatureDef = _message_class("tensorflow.SignatureDef")
Example = _message_class("tensorflow.Example")

ModelSpec = _message_class("tensorflow.serving.ModelSpec")
PredictRequest = _message_class("tensorflow.serving.PredictRequest")
PredictResponse = _message_class("tensorflow.serving.PredictResponse")
SignatureDefMap = _message_class("tensorflow.serving.SignatureDefMap")
GetModelMetadataRequest = _message_class("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = _message_class("tensorflow.serving.GetModelMetadataResponse")
StatusProto = _message_class("tensorflow.serving.StatusProto")
ModelVersionStatus = _message_class("tensorflow.serving.ModelVersionStatus")
GetModelStatusRequest = _message_class("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = _message_class("tensorflow.serving.GetModelStatusResponse")
Input = _message_class("tensorflow.serving.Input")
ClassificationRequest = _message_class("tensorflow.serving.ClassificationRequest")
ClassificationResponse = _message_class("tensorflow.serving.ClassificationResponse")
ClassificationResult = _message_class("tensorflow.serving.ClassificationResult")
RegressionRequest = _message_class("tensorflow.serving.RegressionRequest")
RegressionResponse = _message_class("tensorflow.serving.RegressionResponse")
RegressionResult = _message_class("tensorflow.serving.RegressionResult")
MultiInferenceRequest = _message_class("tensorflow.serving.MultiInferenceRequest")
MultiInferenceResponse = _message_class("tensorflow.serving.MultiInferenceResponse")
ReloadConfigRequest = _message_class("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse = _message_class("tensorflow.serving.ReloadConfigResponse")
PredictionLog = _message_class("tensorflow.serving.PredictionLog")
ProfileRequest = _message_class("tensorflow.ProfileRequest")
ProfileResponse = _message_class("tensorflow.ProfileResponse")


def _enum(name: str) -> dict[str, int]:
    return {value.name: value.number for value in POOL.FindEnumTypeByName(name).values}


DATA_TYPES: Final = _enum("tensorflow.DataType")
"""Name -> number, for example `DATA_TYPES["DT_STRING"] == 7`."""

CODES: Final = _enum("tensorflow.error.Code")
"""gRPC status name -> number."""

STATES: Final = _enum("tensorflow.serving.ModelVersionStatus.State")
"""State of a served version -> number."""

PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY: Final = "/tensorflow.serving.PredictionService/Classify"
REGRESS: Final = "/tensorflow.serving.PredictionService/Regress"
MULTI_INFERENCE: Final = "/tensorflow.serving.PredictionService/MultiInference"
PREDICTIONS: Final = (PREDICT, CLASSIFY, REGRESS, MULTI_INFERENCE)
"""The methods that a model answers; the others are about the server."""
GET_MODEL_METADATA: Final = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD_CONFIG: Final = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
