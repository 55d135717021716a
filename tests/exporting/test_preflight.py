import dataclasses

import pytest
import tensorflow as tf

from tfllm.errors import ExportError, IncompatibleServer
from tfllm.exporting.operators import (
    Operators,
    installed_operators,
    join_lists,
    listed_operators,
    listed_versions,
    read_operators,
    write_operators,
)
from tfllm.exporting.preflight import preflight

TEXT = tf.TensorSpec([None], tf.string, "text")
NUMBERS = tf.TensorSpec([None], tf.float32, "x")


def save(folder, function, spec, **options):
    module = tf.Module()
    module.run = tf.function(function, input_signature=[spec], **options)
    tf.saved_model.save(module, str(folder), signatures=module.run)
    return folder


def test_what_works_is_not_mentioned(tmp_path):
    assert preflight(save(tmp_path, lambda x: {"y": tf.nn.relu(x)}, NUMBERS)) == []


def test_an_operator_or_attribute_that_the_server_lacks(tmp_path):
    save(tmp_path, lambda x: {"y": tf.nn.leaky_relu(x, alpha=0.3)}, NUMBERS)
    known = installed_operators()
    older = {name: names for name, names in known.attributes.items() if name != "LeakyRelu"}
    with pytest.raises(IncompatibleServer, match=r"TensorFlow 2\.4\.0 .*Operator 'LeakyRelu' is not registered"):
        preflight(tmp_path, operators=dataclasses.replace(known, version="2.4.0", attributes=older))
    older = {**known.attributes, "LeakyRelu": frozenset("T")}
    with pytest.raises(IncompatibleServer, match="'LeakyRelu' has no attribute 'alpha'"):
        preflight(tmp_path, operators=dataclasses.replace(known, attributes=older))


def test_a_function_for_xla_alone(tmp_path):
    @tf.function(jit_compile=True)
    def compiled(x):
        return x * 2.0

    save(tmp_path, lambda x: {"y": compiled(x)}, NUMBERS)
    with pytest.raises(IncompatibleServer, match="xla_cpu_compilation_enabled"):
        preflight(tmp_path)


@pytest.mark.parametrize(
    ("function", "spec", "what"),
    [
        (lambda text: {"answer_bytes": text}, TEXT, "base64"),
        (lambda x: {"total": tf.reduce_sum(x)}, NUMBERS, "without a batch dimension"),
        (lambda x: {"y": tf.tile(x[:, tf.newaxis], [1, 50_000])}, NUMBERS, "12,800,000 bytes for 64 rows"),
    ],
)
def test_what_may_surprise(tmp_path, function, spec, what):
    (finding,) = preflight(save(tmp_path, function, spec))
    assert what in finding.what and not finding.fatal


def test_a_list_of_operators_is_read_as_it_was_written(tmp_path):
    known = installed_operators()
    (tmp_path / "ops.json").write_text(write_operators(known))
    assert read_operators(tmp_path / "ops.json") == known
    assert "TFText>FastBertNormalize" in known.attributes or any("Wordpiece" in name for name in known.attributes)


def test_joined_lists_are_what_was_joined(tmp_path, monkeypatch):
    older = Operators("2.17.1", "2.17.0", {"A": frozenset("T"), "Gone": frozenset()})
    newer = Operators("2.18.0", "2.18.1", {"A": frozenset("TU"), "New": frozenset("T")})
    (tmp_path / "lists.json").write_text(join_lists([older, newer]))
    monkeypatch.setattr("tfllm.exporting.operators._LISTS", tmp_path / "lists.json")
    assert listed_versions() == ["2.17", "2.18"]
    assert (listed_operators("2.17"), listed_operators("2.18")) == (older, newer)


def test_the_listed_versions_know_what_an_export_needs(tmp_path):
    save(tmp_path, lambda text: {"length": tf.strings.length(text)}, TEXT)
    assert listed_versions() == ["2.17", "2.18", "2.19", "2.20", "2.21"]
    for version in listed_versions():
        known = listed_operators(version)
        assert known.version.startswith(version) and preflight(tmp_path, operators=known) == []
        assert "FastWordpieceTokenizeWithOffsets" in " ".join(known.attributes)
    with pytest.raises(ExportError, match=r"2\.17, 2\.18.*'1\.15'"):
        listed_operators("1.15")


def test_the_installed_version_is_listed_as_it_is():
    installed = installed_operators()
    assert listed_operators(installed.version.rpartition(".")[0]).attributes == installed.attributes


def test_no_model(tmp_path):
    with pytest.raises(ExportError, match=r"no saved_model\.pb"):
        preflight(tmp_path)
