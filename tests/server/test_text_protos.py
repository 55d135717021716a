import pytest

from tfllm.errors import ConfigError
from tfllm.server.text_protos import read_text_proto


def test_the_three_kinds_of_files(tmp_path):
    file = tmp_path / "settings"
    file.write_text('prometheus_config { enable: true path: "/metrics" }')
    assert read_text_proto(file, "MonitoringConfig").prometheus_config.path == "/metrics"
    file.write_text('server_key: "k" server_cert: "c" client_verify: true')
    assert read_text_proto(file, "SSLConfig").client_verify
    file.write_text("max_batch_size { value: 128 }\nallowed_batch_sizes: 8 allowed_batch_sizes: 128")
    message = read_text_proto(file, "BatchingParameters")
    assert message.max_batch_size.value == 128 and list(message.allowed_batch_sizes) == [8, 128]


def test_what_cannot_be_read(tmp_path):
    file = tmp_path / "settings"
    with pytest.raises(ConfigError, match="Expected a file with a SSLConfig"):
        read_text_proto(file, "SSLConfig")
    file.write_text("nonsense { x: 1 }")
    with pytest.raises(ConfigError, match=r"Error parsing text-format tensorflow.serving.MonitoringConfig"):
        read_text_proto(file, "MonitoringConfig")
