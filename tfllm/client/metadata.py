"""What a server says about its models: the state of their versions, and their signatures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfllm.client.calls import Target, fill_spec, serialized
from tfllm.wire import messages, tensors

DEFAULT_SIGNATURE = "serving_default"
"""The signature that is called where none is named."""

_CODE_NAMES = {number: name for name, number in messages.CODES.items()}
_STATE_NAMES = {number: name for name, number in messages.STATES.items()}


@dataclass(frozen=True)
class VersionStatus:
    """How one version of a model is doing on the server.

    Attributes:
        version: the version number.
        state: `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`.
        error_code: `OK`, or the status name of what went wrong.
        error_message: what went wrong, empty if nothing did.
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


@dataclass(frozen=True)
class TensorSpec:
    """The type of one input or output.

    Attributes:
        dtype: numpy's name of the type, `"string"` for text.
        shape: the sizes, `None` for one that is free; `None` as a whole if even the rank is free.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """One way to call a model.

    Attributes:
        name: the signature's name.
        inputs: input name -> type.
        outputs: output name -> type.
        method_name: TensorFlow Serving's name of the method it is for.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str


@dataclass(frozen=True)
class ModelMetadata:
    """What a served model takes and gives.

    Attributes:
        model: the model's name.
        version: the version that answered.
        signatures: signature name -> signature.
    """

    model: str
    version: int
    signatures: Mapping[str, Signature]


def status_request(target: Target) -> bytes:
    """Return the request for the status of all versions of a model."""
    return serialized(messages.GetModelStatusRequest(model_spec={"name": target.model}))


def statuses_of(response: bytes) -> list[VersionStatus]:
    """Return the versions of a GetModelStatus response, in the server's order (newest first)."""
    rows = messages.GetModelStatusResponse.FromString(response).model_version_status
    return [
        VersionStatus(
            row.version,
            _STATE_NAMES.get(row.state, str(row.state)),
            _CODE_NAMES.get(row.status.error_code, str(row.status.error_code)),
            row.status.error_message,
        )
        for row in rows
    ]


def metadata_request(target: Target) -> bytes:
    """Return the request for a model's signatures."""
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    fill_spec(request.model_spec, target)
    request.model_spec.ClearField("signature_name")
    return serialized(request)


def metadata_of(response: bytes) -> ModelMetadata:
    """Return what a GetModelMetadata response says."""
    message = messages.GetModelMetadataResponse.FromString(response)
    found = messages.SignatureDefMap.FromString(message.metadata["signature_def"].value).signature_def
    signatures = {
        name: Signature(name, _specs(found[name].inputs), _specs(found[name].outputs), found[name].method_name)
        for name in sorted(found)
    }
    return ModelMetadata(message.model_spec.name, message.model_spec.version.value, signatures)


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _spec(infos[name]) for name in sorted(infos)}


def _spec(info: Any) -> TensorSpec:
    shape = tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim)
    return TensorSpec(tensors.dtype_name(info.dtype), None if info.tensor_shape.unknown_rank else shape)
