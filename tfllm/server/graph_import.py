"""Bring the graph of a SavedModel into a session by names alone, in the steps of TensorFlow's loader in C++.

`tf.compat.v1.saved_model.load` makes a Python object of each operator and function, and on the way parses and writes
the graph several times, constants and all. The interpreter belongs to nobody else meanwhile: for a model of 45 MB some
0.35 s in one go, in which a server answers nothing. A session needs none of these objects.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2  # type: ignore[import-untyped]
from tensorflow.python.client import pywrap_tf_session  # type: ignore[import-untyped]
from tensorflow.python.framework import c_api_util  # type: ignore[import-untyped]
from tensorflow.python.saved_model import constants, loader_impl  # type: ignore[import-untyped]

from tfllm.errors import FailedPrecondition

_REST_FROM = 8_000_000
"""From so many bytes on, a graph's way into a session holds the interpreter for long enough to matter."""


def read_meta_graph(path: Path, tags: Sequence[str]) -> tuple[Any, bytes]:
    """Return what a SavedModel says about the graph with exactly these tags, and the graph.

    Args:
        path: the folder of the SavedModel.
        tags: the tags.

    Returns:
        A `MetaGraphDef` without its graph, and the `GraphDef` as bytes.

    Raises:
        FailedPrecondition: there is no SavedModel, it is damaged, or no graph has these tags.
        tf.errors.OpError: the file cannot be read.
    """
    found = []
    try:
        for parts in _read_parts(path).meta_graphs:
            graph = parts.graph_def
            parts.ClearField("graph_def")
            about = meta_graph_pb2.MetaGraphDef.FromString(parts.SerializeToString())
            if set(about.meta_info_def.tags) == set(tags):
                return about, graph
            found.append(sorted(about.meta_info_def.tags))
    except (DecodeError, ValueError) as error:  # ValueError: text that is not UTF-8
        raise FailedPrecondition(f"Cannot parse the SavedModel in {path}: {error}") from error
    except OSError as error:
        raise FailedPrecondition(str(error)) from error
    raise FailedPrecondition(
        f"Expected a graph with the tags {sorted(tags)} in {path}. Found graphs with: {found}. "
        "Name the tags by --saved_model_tags."
    )


def import_graph(session: Any, graph: bytes, rest: Callable[[], None]) -> None:
    """Bring a graph into a session that has none.

    Args:
        session: a `tf.compat.v1.Session`.
        graph: a `GraphDef`.
        rest: called between steps that keep the interpreter from all other threads.

    Raises:
        tf.errors.OpError: TensorFlow refuses the graph.
    """
    pause = rest if len(graph) >= _REST_FROM else lambda: None
    options = c_api_util.ScopedTFImportGraphDefOptions()
    pywrap_tf_session.TF_ImportGraphDefOptionsSetValidateColocationConstraints(options.options, True)
    pause()
    buffer = pywrap_tf_session.TF_NewBufferFromString(graph)
    try:
        pause()
        with session.graph._c_graph.get() as target:
            results = pywrap_tf_session.TF_GraphImportGraphDefWithResults(target, buffer, options.options)
        c_api_util.ScopedTFImportGraphDefResults(results)
    finally:
        pywrap_tf_session.TF_DeleteBuffer(buffer)
    pause()


def restore(session: Any, about: Any, path: Path) -> None:
    """Read the variables of a graph, if it has any, and run what it wants to be run at its start.

    Args:
        session: the session, with the graph.
        about: its `MetaGraphDef`, with or without the graph.
        path: the folder of the SavedModel.

    Raises:
        FailedPrecondition: the variables are not there, or it is not clear which operator to start with.
        tf.errors.OpError: an operator failed.
    """
    assets = loader_impl.get_asset_tensors(str(path), about)
    variables = path / constants.VARIABLES_DIRECTORY / constants.VARIABLES_FILENAME
    index, operator = variables.with_name(variables.name + ".index"), about.saver_def.restore_op_name
    if operator and not index.exists():
        raise FailedPrecondition(f"Expected the variables of the graph in {index}. Found: no file. Copy it again.")
    if not operator and index.exists():
        raise FailedPrecondition(f"Expected an operator that restores the variables in {path}. Found: none.")
    if operator:
        _run(session, {about.saver_def.filename_tensor_name: str(variables).encode(), **assets}, operator)
    if operator := _init_operator(about):
        _run(session, assets, operator)


def _run(session: Any, feeds: dict[str, bytes], target: str) -> None:
    options = config_pb2.CallableOptions(feed=list(feeds), target=[target])
    session._make_callable_from_options(options)(*(np.array(value, object) for value in feeds.values()))


def _init_operator(about: Any) -> str:
    """Return the name of the operator that a graph is started with, empty if it has none."""
    if (key := constants.INIT_OP_SIGNATURE_KEY) in about.signature_def:
        outputs = about.signature_def[key].outputs
        if key not in outputs:
            raise FailedPrecondition(f"Expected an output {key} of the signature {key}. Found: {sorted(outputs)}.")
        return str(outputs[key].name)
    for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
        if key in about.collection_def:
            names = about.collection_def[key].node_list.value
            if len(names) != 1:
                raise FailedPrecondition(f"Expected exactly one operator in {key}. Found: {list(names)}.")
            return str(names[0])
    return ""


def _read_parts(path: Path) -> Any:
    file = path / constants.SAVED_MODEL_FILENAME_PB
    if file.exists():
        return _Parts.FromString(file.read_bytes())
    return _Parts.FromString(loader_impl.parse_saved_model(str(path)).SerializeToString())  # text, or not there


def _parts() -> Any:
    """Return a message type that reads a `SavedModel`, but leaves graphs as they are written.

    What it does not name goes to the unknown fields, and comes out of them when it is written.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="tfllm/saved_model_parts.proto", package="tfllm", syntax="proto3")
    graph = file.message_type.add(name="MetaGraphParts")
    graph.field.add(name="graph_def", number=2, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
    whole = file.message_type.add(name="SavedModelParts")
    whole.field.add(
        name="meta_graphs",
        number=2,
        type=field.TYPE_MESSAGE,
        type_name=".tfllm.MetaGraphParts",
        label=field.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tfllm.SavedModelParts"))


_Parts = _parts()
