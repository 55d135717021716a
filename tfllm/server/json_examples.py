"""JSON objects as `tf.Example` rows, for classify and regress over REST."""

from typing import Any

from tensorflow.core.example import feature_pb2  # type: ignore[import-untyped]
from tensorflow_serving.apis import input_pb2  # type: ignore[import-untyped]

from tfllm.errors import InvalidInput
from tfllm.server.json_tensors import body_error, decode_base64, is_base64, json_type, lossless
from tfllm.server.json_writing import write_value

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(document: Any) -> Any:
    """Return the Input message of a classify or regress body.

    Raises:
        InvalidInput: the body has no rows, or one that is no `tf.Example`.
    """
    message = input_pb2.Input()
    rows = message.example_list
    if "context" in document:
        rows = message.example_list_with_context
        _fill_example(rows.context, document["context"])
    if "examples" not in document:
        raise body_error(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise body_error(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise body_error(document, "'examples' value is an empty array")
    for item in examples:
        _fill_example(rows.examples.add(), item)
    return message


def _fill_example(example: Any, item: Any) -> None:
    if not isinstance(item, dict):
        raise InvalidInput(f"Example must be JSON object but got JSON {json_type(item)}")
    for name, content in item.items():
        feature = feature_pb2.Feature()
        for value in content if isinstance(content, list) else [content]:
            _add_value(feature, name, value)
        example.features.feature[name].CopyFrom(feature)


def _add_value(feature: Any, name: str, value: Any) -> None:
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not is_base64(value)):
        raise InvalidInput(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    kind = _kind(value)
    known = feature.WhichOneof("kind")
    if known is not None and known != kind:
        raise InvalidInput(f"Unexpected element type in feature: {name} expecting type: {_KINDS[known]}")
    if kind == "float_list" and not lossless(value, 24):
        raise InvalidInput(f"Cannot convert JSON value: {write_value(value)} to float without loss of precision.")
    if kind == "int64_list" and value >= 2**63:
        raise InvalidInput(f"Feature: {name} has uint64 element. Only int64 is supported.")
    if isinstance(value, dict):
        value = decode_base64(value)
    elif isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    elif isinstance(value, bool):
        value = int(value)
    getattr(feature, kind).value.append(value)


def _kind(value: Any) -> str:
    if isinstance(value, str | dict):
        return "bytes_list"
    fits = isinstance(value, int) and -(2**63) <= value < 2**64  # a longer number is read as a decimal
    return "int64_list" if fits else "float_list"
