import dataclasses

import pytest
import tensorflow as tf

from tfllm.errors import ExportError, IncompatibleServer
from tfllm.exporting.operators import installed_operators, read_operators, write_operators
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


def test_no_model(tmp_path):
    with pytest.raises(ExportError, match=r"no saved_model\.pb"):
        preflight(tmp_path)
