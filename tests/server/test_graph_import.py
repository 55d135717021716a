"""Whatever a SavedModel may hold comes into a session as TensorFlow's own loader brings it."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

from tfllm.errors import CallError, FailedPrecondition
from tfllm.repository import ModelVersion
from tfllm.server.graph_import import read_meta_graph
from tfllm.server.session_graph import SessionGraph, SessionThreads

v1 = tf.compat.v1
THREADS = SessionThreads()


def load(path, **options):
    return SessionGraph(ModelVersion("m", 1, path), THREADS, **options)


def ask(path, text=b"b", **options):
    graph = load(path, **options)
    signature = graph.signatures["serving_default"]
    values = graph.run(tuple(signature.feeds.values()), tuple(signature.fetches.values()), [np.array([text], object)])
    graph.close()
    return values[0].tolist()


def initializer(folder):
    vocabulary = folder / "vocabulary.txt"
    vocabulary.write_text("a\nb\n")
    whole_line, line_number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    return tf.lookup.TextFileInitializer(str(vocabulary), tf.string, whole_line, tf.int64, line_number)


@pytest.fixture
def modern(tmp_path):
    """Return a model of TensorFlow 2 with a table from an asset, a variable, and a constant of 8 MB in a function."""
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(initializer(tmp_path), -1)
    module.shift = tf.Variable(10, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def run(text):
        big = tf.constant(np.arange(1_000_000, dtype=np.int64))
        return {"number": tf.gather(big, module.table.lookup(text) + module.shift)}

    path = tmp_path / "modern"
    tf.saved_model.save(module, str(path), signatures=run)
    (tmp_path / "vocabulary.txt").unlink()  # so that the copy among the assets is read
    return path


@pytest.fixture(params=["main_op", "legacy_init_op"])
def classic(tmp_path, request):
    """Return a model of TensorFlow 1 with a table from an asset, a variable, and two sets of tags."""
    path = tmp_path / "classic"
    builder = v1.saved_model.Builder(str(path))
    with tf.Graph().as_default(), v1.Session() as session:
        text = v1.placeholder(tf.string, [None], name="text")
        table = tf.lookup.StaticHashTable(initializer(tmp_path), -1)
        shift = v1.get_variable("shift", initializer=np.int64(10))
        number = table.lookup(text) + shift
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        start = v1.tables_initializer()
        options = {"main_op": start} if request.param == "main_op" else {}
        if not options:
            v1.add_to_collection("legacy_init_op", start)
        signatures = {"serving_default": v1.saved_model.predict_signature_def({"text": text}, {"number": number})}
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map=signatures, assets_collection=assets, **options
        )
        builder.add_meta_graph(["serve", "other"], signature_def_map=signatures, assets_collection=assets)
    builder.save()
    (tmp_path / "vocabulary.txt").unlink()
    return path


def test_tables_variables_and_assets(modern):
    assert ask(modern) == [11]
    assert ask(modern, b"unknown") == [9]


def test_tables_variables_and_assets_of_tensorflow_1(classic):
    assert ask(classic) == [11]
    assert ask(classic, tags=["other", "serve"]) == [11]


def test_a_model_written_as_text(classic):
    binary = classic / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(binary.read_bytes())
    (classic / "saved_model.pbtxt").write_text(text_format.MessageToString(model))
    binary.unlink()
    assert ask(classic) == [11]


def test_rests_between_the_steps_of_a_large_graph_alone(modern, classic):
    rests = []
    ask(modern, rest=lambda: rests.append(1))
    assert len(rests) == 3
    ask(classic, rest=lambda: rests.append(1))
    assert len(rests) == 3


def test_all_but_the_graph_is_read_as_it_is(modern):
    whole = saved_model_pb2.SavedModel.FromString((modern / "saved_model.pb").read_bytes()).meta_graphs[0]
    about, graph = read_meta_graph(modern, ["serve"])
    assert tf.compat.v1.GraphDef.FromString(graph) == whole.graph_def
    whole.ClearField("graph_def")
    assert about == whole


def test_tags_that_no_graph_has(classic):
    with pytest.raises(FailedPrecondition) as caught:
        load(classic, tags=["gpu"])
    for part in ("['gpu']", "[['serve'], ['other', 'serve']]", str(classic), "--saved_model_tags"):
        assert part in str(caught.value)


def test_what_a_graph_starts_with_must_be_one_operator(classic):
    path = classic / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in model.meta_graphs:
        for key in ("saved_model_main_op", "legacy_init_op"):
            if key in graph.collection_def:
                graph.collection_def[key].node_list.value.append("another")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FailedPrecondition, match="exactly one operator in .*another"):
        load(classic)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated(modern, share):
    path = modern / "saved_model.pb"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(FailedPrecondition, match="Cannot parse the SavedModel in .*modern"):
        load(modern)


def test_a_damaged_byte_outside_of_the_graph(modern):
    path = modern / "saved_model.pb"
    data = bytearray(path.read_bytes())
    data[data.rindex(b"serving_default")] = 0xFF  # no text
    path.write_bytes(data)
    with pytest.raises(FailedPrecondition, match="Cannot parse the SavedModel in .*modern"):
        load(modern)


@pytest.mark.parametrize("content", [b"\xff", b"no such field"])
def test_text_that_is_none(tmp_path, content):
    (tmp_path / "saved_model.pbtxt").write_bytes(content)
    with pytest.raises(FailedPrecondition, match="saved_model|utf-8"):
        load(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "saved_model.pb").mkdir()
    with pytest.raises(CallError):
        load(tmp_path)


def test_operators_that_are_not_there(modern):
    path = modern / "saved_model.pb"
    path.write_bytes(path.read_bytes().replace(b"LookupTableFindV2", b"LookupTableLoseV2"))
    with pytest.raises(CallError, match="Op type not registered 'LookupTableLoseV2'"):
        load(modern)


@pytest.mark.parametrize("gone", ["variables.index", "variables.data-00000-of-00001"])
def test_variables_that_are_gone(modern, classic, gone):
    """A version that is half copied must never replace a good one."""
    for path in (modern, classic):
        (path / "variables" / gone).unlink()
        with pytest.raises(CallError, match="variables"):
            load(path)


def test_variables_that_are_cut(modern):
    data = modern / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:3])
    with pytest.raises(CallError):
        load(modern)


def change(path, edit):
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    edit(model.meta_graphs[0])
    (path / "saved_model.pb").write_bytes(model.SerializeToString())


def test_variables_that_nothing_restores(modern):
    change(modern, lambda graph: graph.ClearField("saver_def"))
    with pytest.raises(FailedPrecondition, match="an operator that restores the variables"):
        load(modern)


def test_a_start_without_an_operator(modern):
    change(modern, lambda graph: graph.signature_def["__saved_model_init_op"].outputs.clear())
    with pytest.raises(FailedPrecondition, match=r"an output __saved_model_init_op .* Found: \[\]"):
        load(modern)


def test_what_is_imported_needs_no_python_objects(modern):
    """They cost memory, and the time in which they are made belongs to no request."""
    graph = load(modern)
    assert graph._session.graph.get_operations() == []
    graph.close()
