"""TensorFlow Serving's settings files: text protos of messages that no package on PyPI has.

The messages are declared here, by field name and type: the text form has no field numbers, so these are our own.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from tfllm.errors import ConfigError

_FIELD = descriptor_pb2.FieldDescriptorProto
_WRAPPED = {wrapper: f".google.protobuf.{wrapper}" for wrapper in ("Int64Value", "StringValue", "BoolValue")}
_SCALARS = {"int64": _FIELD.TYPE_INT64, "string": _FIELD.TYPE_STRING, "bool": _FIELD.TYPE_BOOL}
_PACKAGE = "tensorflow.serving"

_MESSAGES: Mapping[str, Mapping[str, str]] = {
    "BatchingParameters": {
        "max_batch_size": "Int64Value",
        "batch_timeout_micros": "Int64Value",
        "max_enqueued_batches": "Int64Value",
        "num_batch_threads": "Int64Value",
        "thread_pool_name": "StringValue",
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": "BoolValue",
        "max_execution_batch_size": "Int64Value",
    },
    "SSLConfig": {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"},
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": "PrometheusConfig"},
}


def read_text_proto(path: str | os.PathLike[str], name: str) -> Any:
    """Read a settings file.

    Args:
        path: the file.
        name: the message: `"BatchingParameters"`, `"SSLConfig"` or `"MonitoringConfig"`.

    Raises:
        ConfigError: the file cannot be read, or is no such message.
    """
    message = _CLASSES[name]()
    parse_file(path, message, f"a file with a {name} message")
    return message


def parse_file(path: str | os.PathLike[str], message: Any, expected: str) -> None:
    """Read a text proto into a message.

    Args:
        path: the file.
        message: any message.
        expected: what the file is, for the error.

    Raises:
        ConfigError: the file cannot be read, or is no such message.
    """
    try:
        text_format.Parse(Path(path).read_text("utf-8"), message)
    except text_format.ParseError as error:
        raise ConfigError(
            f"Invalid protobuf file: '{path}'. Error parsing text-format {message.DESCRIPTOR.full_name}: {error}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Expected {expected}. Received: '{path}': {error}") from error


def _declare() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="tfllm/server/settings.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            label, _, kind = kind.rpartition(" ")
            row = message.field.add(name=field, number=number)
            row.label = _FIELD.LABEL_REPEATED if label else _FIELD.LABEL_OPTIONAL
            if kind in _SCALARS:
                row.type = _SCALARS[kind]
            else:
                row.type, row.type_name = _FIELD.TYPE_MESSAGE, _WRAPPED.get(kind, f".{_PACKAGE}.{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


_CLASSES = _declare()
