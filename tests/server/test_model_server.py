"""Settings as the flags of a real TensorFlow Serving, run with a stand-in that writes down what it was started with."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tfllm.errors import ConfigError
from tfllm.server.config import ServerConfig
from tfllm.server.config_file import read_config_file
from tfllm.server.model_server import model_server_flags

# The flags of tensorflow_model_server 2.20 that are used here.
KNOWN = set(
    """port rest_api_port model_config_file model_config_file_poll_wait_seconds file_system_poll_wait_seconds
    grpc_channel_arguments grpc_max_threads grpc_socket_path rest_api_num_threads rest_api_timeout_in_ms enable_batching
    batching_parameters_file enable_per_model_batching_parameters enable_model_warmup
    num_request_iterations_for_warmup monitoring_config_file ssl_config_file tensorflow_inter_op_parallelism
    tensorflow_intra_op_parallelism allow_version_labels_for_unavailable_models enable_grpc_healthcheck_service
    enable_profiler enable_serialization_as_tensor_content prefer_tflite_model rest_api_enable_cors_support
    saved_model_tags tensorflow_session_parallelism""".split()
)
STAND_IN = """#!{python}
import json, pathlib, signal, sys, time
flags = dict(flag[2:].split("=", 1) for flag in sys.argv[1:])
models = pathlib.Path(flags["model_config_file"]).read_text()
def stop(number, frame):
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
pathlib.Path({out!r}).write_text(json.dumps([flags, models, flags["model_config_file"]]))
print("started", flush=True)
time.sleep(60 if flags["port"] == "8599" else 0)
sys.exit(3)
"""


def flags(config=None, **arguments):
    arguments = {"port": 8500, "rest_api_port": 8501, "host": "0.0.0.0", **arguments}
    found = model_server_flags("/config/models.config", config=config or ServerConfig(), **arguments)
    return dict(re.fullmatch("--([a-z_]+)=(.*)", flag).groups() for flag in found)


def test_the_defaults():
    found = flags()
    assert found.keys() <= KNOWN
    assert (found["port"], found["rest_api_port"]) == ("8500", "8501")
    assert found["model_config_file"] == "/config/models.config"
    assert int(found["grpc_max_threads"]) >= 160  # its own 4 a core would refuse the requests of a few clients
    assert "tensorflow_inter_op_parallelism" not in found  # one a core there too


def test_every_setting_that_it_has():
    config = ServerConfig(
        grpc_channel_arguments="grpc.so_reuseaddr=1",
        grpc_max_threads=5,
        grpc_socket_path="/socket",
        rest_api_num_threads=6,
        rest_api_timeout_in_ms=7,
        file_system_poll_wait_seconds=0.2,
        model_config_file_poll_wait_seconds=3.0,
        allow_version_labels_for_unavailable_models=True,
        enable_batching=True,
        batching_parameters_file="/config/batching.config",
        enable_per_model_batching_parameters=True,
        enable_model_warmup=False,
        num_request_iterations_for_warmup=2,
        monitoring_config_file="/config/monitoring.config",
        tensorflow_inter_op_parallelism=2,
        tensorflow_intra_op_parallelism=4,
    )
    assert flags(config) == {
        "port": "8500",
        "rest_api_port": "8501",
        "model_config_file": "/config/models.config",
        "grpc_channel_arguments": "grpc.so_reuseaddr=1",
        "grpc_max_threads": "5",
        "grpc_socket_path": "/socket",
        "rest_api_num_threads": "6",
        "rest_api_timeout_in_ms": "7",
        "file_system_poll_wait_seconds": "1",
        "model_config_file_poll_wait_seconds": "3",
        "allow_version_labels_for_unavailable_models": "true",
        "enable_batching": "true",
        "batching_parameters_file": "/config/batching.config",
        "enable_per_model_batching_parameters": "true",
        "enable_model_warmup": "false",
        "num_request_iterations_for_warmup": "2",
        "monitoring_config_file": "/config/monitoring.config",
        "tensorflow_inter_op_parallelism": "2",
        "tensorflow_intra_op_parallelism": "4",
    }


def test_settings_that_came_later():
    config = ServerConfig(
        enable_grpc_healthcheck_service=True,
        enable_profiler=False,
        enable_serialization_as_tensor_content=True,
        prefer_tflite_model=True,
        rest_api_enable_cors_support=True,
        saved_model_tags="serve,gpu",
        tensorflow_session_parallelism=2,
    )
    found = flags(config)
    assert found.keys() - flags().keys() == {
        "enable_grpc_healthcheck_service",
        "enable_profiler",
        "enable_serialization_as_tensor_content",
        "prefer_tflite_model",
        "rest_api_enable_cors_support",
        "saved_model_tags",
        "tensorflow_session_parallelism",
    }
    assert (found["enable_profiler"], found["saved_model_tags"]) == ("false", "serve,gpu")
    assert "tensorflow_inter_op_parallelism" not in found


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"host": "127.0.0.1"}, "--host=0.0.0.0 .* listens on all networks"),
        ({"port": 0}, "port=0"),
        ({"rest_api_port": 70000}, "rest_api_port=70000"),
        ({"config": ServerConfig(batch_token_budget=512)}, "batch_token_budget=512, .* embedded server alone"),
        ({"config": ServerConfig(request_log_dir="/log")}, "request_log_dir='/log'"),
        ({"config": ServerConfig(trace_endpoint="http://x")}, "trace_endpoint"),
    ],
)
def test_what_it_does_not_have_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        flags(**arguments)


@pytest.fixture
def serve(tmp_path):
    """Return what starts `tfllm serve` with the stand-in on the PATH: the process, and where its notes go."""
    for name, version in (("reviews", 1), ("reviews", 2), ("topics", 7)):
        folder = tmp_path / "models" / name / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")
    program = tmp_path / "bin" / "tensorflow_model_server"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable, out=str(tmp_path / "notes.json")))
    program.chmod(0o755)

    def start(*words, path=f"{program.parent}:{os.environ['PATH']}"):
        command = [sys.executable, "-m", "tfllm", "serve", "--engine=tensorflow_serving", *words]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
        )

    return start, tmp_path / "notes.json"


def test_it_is_started_with_the_models_of_a_folder(serve, tmp_path):
    start, notes = serve
    running = start("models", "--host=0.0.0.0", "--version-policy=latest:2", "--enable_batching")
    assert running.communicate(timeout=60)[0] == "started\n"
    assert running.returncode == 3
    given, models, file = json.loads(notes.read_text())
    assert given.keys() <= KNOWN and given["enable_batching"] == "true"
    (tmp_path / "seen.config").write_text(models)
    first, second = read_config_file(tmp_path / "seen.config")
    assert (first.name, first.base_path, first.policy.count) == ("reviews", tmp_path / "models" / "reviews", 2)
    assert second.name == "topics"
    assert not os.path.exists(file)


def test_it_is_started_with_a_config_file(serve, tmp_path):
    start, notes = serve
    (tmp_path / "mine.config").write_text("model_config_list {}\n")
    start("--model_config_file=mine.config", "--host=0.0.0.0").communicate(timeout=60)
    assert json.loads(notes.read_text())[1:] == ["model_config_list {}\n", "mine.config"]


def test_flags_of_its_engine_reach_it(serve):
    start, notes = serve
    flags = ["--num_load_threads=2", "--xla_cpu_compilation_enabled", "--platform_config_file=p.config"]
    said = start("models", "--host=0.0.0.0", *flags).communicate(timeout=60)[1]
    given = json.loads(notes.read_text())[0]
    assert given["num_load_threads"] == "2" and given["xla_cpu_compilation_enabled"] == "true"
    assert given["platform_config_file"] == "p.config" and "changes nothing" not in said


def test_flags_that_cannot_be_followed_are_not_left_out(serve):
    running = serve[0]("models", "--engine=embedded", "--use_alts_credentials")
    assert "--use_alts_credentials is not of the embedded server" in running.communicate(timeout=60)[1]
    assert running.returncode == 2
    running = serve[0]("nowhere", "--engine=embedded", "--use_alts_credentials=false", "--platform_config_file=")
    assert "nowhere" in running.communicate(timeout=60)[1] and running.returncode == 1


def test_a_signal_is_handed_on(serve):
    start, _ = serve
    running = start("models/topics", "--host=0.0.0.0", "--port=8599")
    assert running.stdout.readline() == "started\n"
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 7


def test_it_is_not_there(serve, tmp_path):
    running = serve[0]("models", "--host=0.0.0.0", path=str(tmp_path))
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 1
    assert "Expected 'tensorflow_model_server' on the PATH" in said and "Traceback" not in said
