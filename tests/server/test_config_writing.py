"""The written files are what TensorFlow Serving reads: models by its own message, the rest by its published fields."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

from tfllm.cli.models import models
from tfllm.errors import ConfigError, RepositoryError
from tfllm.server.config_file import read_config_file
from tfllm.server.config_writing import BatchingSettings, TlsFiles, models_config, write_configs
from tfllm.server.model_config import ModelConfig, VersionPolicy

# The messages that the official package does not have, as TensorFlow Serving's sources define them.
WRAPPED = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
PEM = "-----BEGIN {0}-----\nQUJD\n-----END {0}-----\n"


@pytest.fixture(scope="module")
def message():
    """Return what gives an empty message of a name."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="serving_configs.proto", package="published", syntax="proto3")

    def add(name, fields):
        new = file.message_type.add(name=name)
        for number, (title, kind, type_name) in enumerate(fields, 1):
            new.field.add(name=title, number=number, type=kind, type_name=type_name, label=field.LABEL_OPTIONAL)

    add("Wrapped", [("value", field.TYPE_INT64, None)])
    add("BatchingParameters", [(name, field.TYPE_MESSAGE, ".published.Wrapped") for name in WRAPPED])
    add("PrometheusConfig", [("enable", field.TYPE_BOOL, None), ("path", field.TYPE_STRING, None)])
    add("MonitoringConfig", [("prometheus_config", field.TYPE_MESSAGE, ".published.PrometheusConfig")])
    texts = [(name, field.TYPE_STRING, None) for name in ("server_key", "server_cert", "custom_ca")]
    add("SSLConfig", [*texts, ("client_verify", field.TYPE_BOOL, None)])
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"published.{name}"))()


@pytest.fixture
def root(tmp_path):
    for name, version in (("reviews", 3), ("reviews", 4), ('odd "name"', 1)):
        folder = tmp_path / "models" / name / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")
    return tmp_path / "models"


def parsed(path, empty):
    return text_format.Parse(Path(path).read_text("utf-8"), empty)


def test_models_as_the_official_message_reads_them(root, tmp_path):
    labels = {"reviews": {"stable": 3, "canary": 4}}
    written = write_configs(root, tmp_path / "out", base_path="/models", version_policy="latest:2", labels=labels)
    config = parsed(written.paths["models.config"], model_server_config_pb2.ModelServerConfig())
    first, second = config.model_config_list.config
    assert (first.name, first.base_path) == ('odd "name"', '/models/odd "name"')
    assert (second.name, second.base_path, second.model_platform) == ("reviews", "/models/reviews", "tensorflow")
    assert second.model_version_policy.latest.num_versions == 2
    assert dict(second.version_labels) == {"stable": 3, "canary": 4}
    assert "--allow_version_labels_for_unavailable_models" in written.flags


@pytest.mark.parametrize("policy", ["latest", "latest:3", "all", "specific:1,4"])
def test_a_written_file_is_read_back_as_it_was(policy, tmp_path):
    models = [ModelConfig("é\n\\", Path("/somewhere/é"), VersionPolicy.parse(policy), {"stable": 4})]
    (tmp_path / "models.config").write_text(models_config(models), "utf-8")
    assert read_config_file(tmp_path / "models.config") == models


def test_batching_and_the_threads_that_it_needs(root, tmp_path, message):
    batching = BatchingSettings(max_batch_size=16, batch_timeout_micros=500, num_batch_threads=3)
    written = write_configs(root, tmp_path, batching=batching)
    found = parsed(written.paths["batching.config"], message("BatchingParameters"))
    assert [getattr(found, name).value for name in WRAPPED] == [16, 500, 12, 3]
    assert {"--grpc_max_threads=240", "--rest_api_num_threads=240", "--enable_batching"} <= set(written.flags)


def test_monitoring(root, tmp_path, message):
    written = write_configs(root, tmp_path)
    found = parsed(written.paths["monitoring.config"], message("MonitoringConfig"))
    assert found.prometheus_config.enable
    assert found.prometheus_config.path == "/monitoring/prometheus/metrics"


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_has_the_contents_of_the_files_and_is_secret(mutual, root, tmp_path, message):
    for name in ("key", "certificate", "authority"):
        (tmp_path / name).write_text(PEM.format(name.upper()))
    tls = TlsFiles(tmp_path / "key", tmp_path / "certificate", tmp_path / "authority" if mutual else None)
    for _ in range(2):  # the second time it is there
        written = write_configs(root, tmp_path / "out", config_path="/config", tls=tls)
    file = written.paths["ssl.config"]
    found = parsed(file, message("SSLConfig"))
    assert (found.server_key, found.server_cert) == (PEM.format("KEY"), PEM.format("CERTIFICATE"))
    assert (found.custom_ca, found.client_verify) == (PEM.format("AUTHORITY") if mutual else "", mutual)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "--ssl_config_file=/config/ssl.config" in written.flags


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"labels": {"nope": {"stable": 1}}}, "labels for a model in .*: odd.*, reviews.*Received: 'nope'"),
        ({"labels": {"reviews": {"stable": 3}}}, "a version that is served: 4. Received: version=3"),
        ({"base_path": "models"}, "absolute base_path"),
        ({"version_policy": "newest"}, "version_policy"),
        ({"batching": BatchingSettings(max_batch_size=0)}, "max_batch_size of 1 or more"),
        ({"batching": BatchingSettings(num_batch_threads=-1)}, "num_batch_threads of 0 or more"),
        ({"tls": TlsFiles(Path("/nowhere"), Path("/nowhere"))}, "Expected a PEM file.*nowhere"),
    ],
)
def test_what_cannot_be_right(arguments, message, root, tmp_path):
    with pytest.raises(ConfigError, match=message):
        write_configs(root, tmp_path / "out", **arguments)


def test_a_file_that_is_no_pem(root, tmp_path):
    (tmp_path / "key").write_text("hello")
    with pytest.raises(ConfigError, match="BEGIN"):
        write_configs(root, tmp_path / "out", tls=TlsFiles(tmp_path / "key", tmp_path / "key"))


def test_no_models(tmp_path):
    with pytest.raises(RepositoryError):
        write_configs(tmp_path, tmp_path / "out")


def test_the_verb(root, tmp_path):
    out = tmp_path / "out"
    run = CliRunner().invoke
    arguments = ["config", str(root), "--output", str(out), "--config-path=/config", "--max-batch-size=8", "--json"]
    said = json.loads(run(models, arguments, catch_exceptions=False).stdout)
    assert set(said["files"]) == {"models.config", "batching.config", "monitoring.config"}
    assert "--model_config_file=/config/models.config" in said["flags"]
    assert "max_batch_size { value: 8 }" in (out / "batching.config").read_text()
    text = run(models, [*arguments[:-1], "--label=reviews:stable=4"], catch_exceptions=False).stdout
    assert text.startswith("tensorflow_model_server \\\n  --port=8500")
    for wrong in (["--label=reviews"], ["--tls-key=x"]):
        assert isinstance(run(models, [*arguments, *wrong]).exception, ConfigError)


def test_the_list_needs_no_name(root):
    run = CliRunner().invoke
    listed = run(models, ["list", str(root), "--json"], catch_exceptions=False).stdout
    assert run(models, [str(root), "--json"], catch_exceptions=False).stdout == listed
    assert len(json.loads(listed)) == 3
