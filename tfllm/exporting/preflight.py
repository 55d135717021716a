"""Check before a deployment that a server can run a SavedModel: `preflight`."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfllm.errors import ExportError, IncompatibleServer
from tfllm.exporting.operators import Operators, installed_operators

_DEFAULT_MESSAGE_LIMIT = 4 * 1024 * 1024
"""What a gRPC client receives at most unless told otherwise, in bytes."""

_ROWS = 64


@dataclass(frozen=True)
class Finding:
    """Something that was found in a SavedModel.

    Attributes:
        fatal: whether the server cannot load or run the model.
        what: what it is, and what to do.
    """

    fatal: bool
    what: str


def preflight(
    folder: str | os.PathLike[str],
    *,
    operators: Operators | None = None,
    message_limit: int = _DEFAULT_MESSAGE_LIMIT,
) -> list[Finding]:
    """Compare a SavedModel with what a server can run.

    Args:
        folder: the version's folder.
        operators: what the server registers; by default what the installed TensorFlow does, of the same version.
        message_limit: the most bytes of a response.

    Returns:
        what may surprise, but works.

    Raises:
        ExportError: there is no SavedModel.
        IncompatibleServer: the server cannot run it; the message names each operator and the server's version.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> module = tf.Module()
        >>> spec = tf.TensorSpec([None], tf.float32, "x")
        >>> module.double = tf.function(lambda x: {"y": x * 2}, input_signature=[spec])
        >>> tf.saved_model.save(module, folder, signatures=module.double)
        >>> preflight(folder)
        []
    """
    known = operators or installed_operators()
    file = Path(folder, "saved_model.pb")
    if not file.is_file():
        raise ExportError(f"Expected a SavedModel. Received: '{folder}', which has no saved_model.pb.")
    meta_graph = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0]
    findings = [*_operators(meta_graph, known), *_signatures(meta_graph, message_limit)]
    fatal = [finding.what for finding in findings if finding.fatal]
    if fatal:
        raise IncompatibleServer(
            f"Expected a model that a server with TensorFlow {known.version} (TensorFlow Text {known.text_version}) "
            f"can run. Received: '{folder}': {' '.join(fatal)}"
        )
    return findings


def _operators(meta_graph: Any, known: Operators) -> Iterator[Finding]:
    nodes = [*meta_graph.graph_def.node]
    functions = {function.signature.name for function in meta_graph.graph_def.library.function}
    for function in meta_graph.graph_def.library.function:
        nodes.extend(function.node_def)
        if function.attr["_XlaMustCompile"].b:
            yield Finding(
                True,
                f"Function '{function.signature.name}' must be compiled by XLA, which is off in TensorFlow Serving "
                "unless it runs with --xla_cpu_compilation_enabled.",
            )
    unknown = sorted({node.op for node in nodes} - known.attributes.keys() - functions)
    for name in unknown:
        yield Finding(True, f"Operator '{name}' is not registered there.")
    for name in sorted({node.op for node in nodes if node.op.startswith("Xla")} - set(unknown)):
        yield Finding(True, f"Operator '{name}' runs under XLA only.")
    missing = {
        (node.op, attribute)
        for node in nodes
        if node.op in known.attributes
        for attribute in node.attr
        if not attribute.startswith("_") and attribute not in known.attributes[node.op]
    }
    for name, attribute in sorted(missing):
        yield Finding(True, f"Operator '{name}' has no attribute '{attribute}' there.")


def _signatures(meta_graph: Any, message_limit: int) -> Iterator[Finding]:
    for name, signature in sorted(meta_graph.signature_def.items()):
        if name.startswith("__"):
            continue
        for alias, info in sorted(signature.outputs.items()):
            where = f"Output '{alias}' of signature '{name}'"
            dtype = tf.as_dtype(info.dtype)
            if dtype == tf.string and alias.endswith("_bytes"):
                yield Finding(False, f"{where} ends in _bytes: REST sends it as base64. Rename it to send text.")
            sizes = [dim.size for dim in info.tensor_shape.dim]
            if info.tensor_shape.unknown_rank:
                continue
            if not sizes or sizes[0] != -1:
                yield Finding(
                    False,
                    f"{where} has shape {sizes} without a batch dimension: it fails with --enable_batching.",
                )
            row = int(np.prod([size for size in sizes[1:] if size > 0]))
            if dtype != tf.string and row * dtype.size * _ROWS > message_limit:
                yield Finding(
                    False,
                    f"{where} takes {row * dtype.size * _ROWS:,} bytes for {_ROWS} rows, more than {message_limit:,}: "
                    "raise the limit of messages at the client.",
                )
