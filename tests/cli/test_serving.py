"""The flags of `tfllm serve`: TensorFlow Serving's, with its spelling."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

import tfllm
from tfllm.cli import serving
from tfllm.errors import ConfigError
from tfllm.server import logging_format
from tfllm.server.config import ServerConfig


@pytest.fixture
def run(monkeypatch):
    """Return what runs the verb and gives the path and the keyword arguments of `tfllm.serve`."""
    seen = []

    def serve(path, **arguments):
        seen.append((path, arguments))
        raise ConfigError("seen")

    monkeypatch.setattr(serving, "import_tensorflow", lambda extra: None)
    monkeypatch.setattr(logging_format, "set_up_logging", lambda *settings: None)  # it would outlast the test
    monkeypatch.setattr(tfllm, "serve", serve, raising=False)

    def call(*flags):
        result = CliRunner().invoke(serving.serve, flags)
        return seen.pop() if seen else result.output

    return call


def test_without_flags(run):
    path, arguments = run()
    assert path == "saved_models"
    assert (arguments["port"], arguments["rest_api_port"], arguments["host"]) == (8500, None, "127.0.0.1")
    assert arguments["config"] == ServerConfig()


def test_the_flags_of_tensorflow_serving(run):
    path, arguments = run(
        "--port=1",
        "--rest_api_port=2",
        "--model_config_file=/models.config",
        "--model_config_file_poll_wait_seconds=3",
        "--file_system_poll_wait_seconds=4",
        "--allow_version_labels_for_unavailable_models",
        "--grpc_max_threads=5",
        "--rest_api_num_threads=6",
        "--rest_api_timeout_in_ms=7",
        "--grpc_socket_path=/socket",
    )
    assert path is None
    assert (arguments["port"], arguments["rest_api_port"]) == (1, 2)
    assert arguments["model_config_file"] == "/models.config"
    assert arguments["config"] == ServerConfig(
        grpc_max_threads=5,
        grpc_socket_path="/socket",
        rest_api_num_threads=6,
        rest_api_timeout_in_ms=7,
        file_system_poll_wait_seconds=4.0,
        model_config_file_poll_wait_seconds=3.0,
        allow_version_labels_for_unavailable_models=True,
    )


def test_one_model(run):
    path, arguments = run("--model_base_path=/models/m")
    assert (path, arguments["model_name"]) == ("/models/m", "default")
    path, arguments = run("--model_base_path=/models/m", "--model_name=m", "--rest_api_port=0")
    assert (path, arguments["model_name"], arguments["rest_api_port"]) == ("/models/m", "m", None)


def test_dashes_and_values_of_switches(run):
    flag = "--allow_version_labels_for_unavailable_models"
    assert run(f"{flag}=true")[1]["config"].allow_version_labels_for_unavailable_models
    assert not run(f"{flag}=false")[1]["config"].allow_version_labels_for_unavailable_models
    assert run(flag.replace("_", "-"))[1]["config"].allow_version_labels_for_unavailable_models
    assert run("--grpc-max-threads", "5", "models") == (
        "models",
        {**run()[1], "config": ServerConfig(grpc_max_threads=5)},
    )


def test_two_places_at_once(run):
    assert "not two of them" in run("models", "--model_config_file=x")


def test_a_bad_config_file_ends_with_the_reason_on_stderr(tmp_path):
    file = tmp_path / "models.config"
    file.write_text("improper model config file contents")
    command = [sys.executable, "-m", "tfllm", "serve", f"--model_config_file={file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:" in done.stderr
    assert "Traceback" not in done.stderr
