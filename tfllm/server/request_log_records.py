"""The record of a request: TensorFlow Serving's PredictionLog, as its warm-up reads it, with personal data masked."""

from collections.abc import Callable, Iterator, MutableSequence
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2  # type: ignore[import-untyped]
from tensorflow.core.framework import types_pb2  # type: ignore[import-untyped]
from tensorflow_serving.apis import prediction_log_pb2  # type: ignore[import-untyped]

from tfllm.server.observers import RequestEvent
from tfllm.server.request_log_masking import mask, mask_part
from tfllm.wire import tensors

_KINDS = {
    "Predict": "predict_log",
    "Classify": "classify_log",
    "Regress": "regress_log",
    "MultiInference": "multi_inference_log",
}
_FEATURES_TAG = b"\x0a"  # the first byte of every `tf.Example` with features


def can_record(event: RequestEvent) -> bool:
    """Return whether a record can be made: of an answered call that ran a signature; over REST, of predict alone."""
    if event.status != "OK" or event.method not in _KINDS:
        return False
    return event.entrypoint == "GRPC" or (event.method == "Predict" and event.inputs is not None)


def make_record(event: RequestEvent, sample: float, masked: bool) -> bytes:
    """Return the serialized PredictionLog of a request.

    The request names no version and no label, so that it can warm up a later version; which one answered is in the
    metadata. Nothing says who asked.

    Args:
        event: an event that can be recorded.
        sample: the share of requests that are recorded.
        masked: whether texts are masked.
    """
    record = prediction_log_pb2.PredictionLog()
    record.log_metadata.model_spec.name = event.model
    record.log_metadata.model_spec.signature_name = event.signature
    record.log_metadata.sampling_config.sampling_rate = sample
    record.log_metadata.timestamp_secs = int(event.started)
    if event.version is not None:
        record.log_metadata.model_spec.version.value = event.version
    log = getattr(record, _KINDS[event.method])
    if event.entrypoint == "GRPC":
        log.request.CopyFrom(event.request)
        log.response.CopyFrom(event.response)
    else:
        _fill_predict(log, event)
    for spec in _specs(log.request):
        spec.ClearField("version_choice")
    if masked:
        _mask(log)
    data: bytes = record.SerializeToString()
    return data


def _fill_predict(log: Any, event: RequestEvent) -> None:
    for message in (log.request, log.response):
        message.model_spec.name = event.model
        message.model_spec.signature_name = event.signature
    if event.version is not None:
        log.response.model_spec.version.value = event.version
    for fields, arrays in ((log.request.inputs, event.inputs), (log.response.outputs, event.outputs)):
        for alias, array in (arrays or {}).items():
            tensors.fill(fields[alias], array)


def _specs(request: Any) -> list[Any]:
    tasks = getattr(request, "tasks", None)
    return [request.model_spec] if tasks is None else [task.model_spec for task in tasks]


def _mask(log: Any) -> None:
    changed: list[tuple[str, str]] = []

    def mask_text(value: bytes) -> bytes:
        before = _decoded(value)
        after = mask(before)
        if before != after:
            changed.append((before, after))
        return _encoded(after)

    def mask_answer(value: bytes) -> bytes:  # which may be a part of the request's texts
        return _encoded(mask_part(_decoded(value), changed))

    for values in _request_texts(log.request):
        values[:] = [_masked(value, mask_text) for value in values]
    for values in _response_texts(log.response):
        values[:] = [_masked(value, mask_answer) for value in values]
    for classes in _classes(log.response):
        classes.label = mask_part(classes.label, changed)


def _masked(value: bytes, mask_one: Callable[[bytes], bytes]) -> bytes:
    """Mask a text, or each of the texts in a `tf.Example`."""
    example = _example(value)
    if example is None:
        return mask_one(value)
    for features in _feature_texts(example):
        features[:] = [_masked(text, mask_one) for text in features]
    data: bytes = example.SerializeToString()
    return data


def _example(value: bytes) -> Any:
    """Return the `tf.Example` that a value is, or None: it has features, one with values, and nothing else in it."""
    if value[:1] != _FEATURES_TAG:
        return None
    example = example_pb2.Example()
    try:
        example.ParseFromString(value)
    except DecodeError:
        return None
    size = example.ByteSize()
    example.DiscardUnknownFields()
    whole = example.ByteSize() == size
    features = example.features.feature.values()
    return example if whole and any(feature.WhichOneof("kind") for feature in features) else None


def _request_texts(request: Any) -> Iterator[MutableSequence[bytes]]:
    if hasattr(request, "inputs"):
        yield from map(_tensor_texts, request.inputs.values())
        return
    kind = request.input.WhichOneof("kind")
    found = getattr(request.input, kind) if kind else None
    if found is None:
        return
    rows = list(found.examples)
    if kind == "example_list_with_context":
        rows.append(found.context)
    for example in rows:
        yield from _feature_texts(example)


def _response_texts(response: Any) -> Iterator[MutableSequence[bytes]]:
    if hasattr(response, "outputs"):
        yield from map(_tensor_texts, response.outputs.values())


def _tensor_texts(tensor: Any) -> MutableSequence[bytes]:
    """Return the texts of a tensor; those that are packed into `tensor_content` are unpacked first."""
    if tensor.dtype == types_pb2.DT_STRING and tensor.tensor_content:
        tensor.string_val[:] = tensors.to_array(tensor).ravel().tolist()
        tensor.ClearField("tensor_content")
    texts: MutableSequence[bytes] = tensor.string_val
    return texts


def _feature_texts(example: Any) -> Iterator[MutableSequence[bytes]]:
    for feature in example.features.feature.values():
        if feature.HasField("bytes_list"):  # else it would get one, in the place of its numbers
            yield feature.bytes_list.value


def _classes(response: Any) -> Iterator[Any]:
    if hasattr(response, "results"):  # of several tasks
        results = [item.classification_result for item in response.results if item.HasField("classification_result")]
    else:
        results = [response.result] if hasattr(response, "result") else []
    for result in results:
        for row in getattr(result, "classifications", ()):
            yield from row.classes


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
