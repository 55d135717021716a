"""A real TensorFlow Serving in the place of the embedded server: our settings as its flags, and its process.

The settings have its flags' names, so most go over as they are. What it does not have is refused, not left out.
"""

import dataclasses
import math
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from tfllm.errors import ConfigError
from tfllm.server.config import ServerConfig
from tfllm.server.config_writing import BatchingSettings, models_config
from tfllm.server.model_config import ModelConfig

EXECUTABLE = "tensorflow_model_server"
_FLAGS = (
    "allow_version_labels_for_unavailable_models",
    "batching_parameters_file",
    "enable_batching",
    "enable_grpc_healthcheck_service",
    "enable_model_warmup",
    "enable_per_model_batching_parameters",
    "enable_profiler",
    "enable_serialization_as_tensor_content",
    "file_system_poll_wait_seconds",
    "grpc_channel_arguments",
    "grpc_max_threads",
    "grpc_socket_path",
    "model_config_file_poll_wait_seconds",
    "monitoring_config_file",
    "num_request_iterations_for_warmup",
    "prefer_tflite_model",
    "rest_api_enable_cors_support",
    "rest_api_num_threads",
    "rest_api_timeout_in_ms",
    "saved_model_tags",
    "ssl_config_file",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_session_parallelism",
)
_PARALLELISM = ("tensorflow_inter_op_parallelism", "tensorflow_intra_op_parallelism")
_ALL_NETWORKS = ("0.0.0.0", "::", "[::]")


def run_model_server(
    models: Sequence[ModelConfig],
    *,
    port: int,
    rest_api_port: int,
    host: str,
    model_config_file: str | None,
    config: ServerConfig,
    engine_flags: Mapping[str, str] | None = None,
) -> int:
    """Run `tensorflow_model_server` until it ends, and hand SIGTERM and SIGINT on to it.

    Args:
        models: what to serve, where there is no config file.
        port: the gRPC port.
        rest_api_port: the REST port, 0 for no REST.
        host: the address to listen on; it listens on all, so this has to be one that means all.
        model_config_file: its model config file, instead of the models.
        config: the other settings.
        engine_flags: flags that it alone has, as they are.

    Returns:
        its exit status; of a signal, 128 more than its number, as a shell has it.

    Raises:
        ConfigError: it is not installed, or does not have a setting.

    Example:
        >>> models = [ModelConfig("reviews", Path("/models/reviews"))]
        >>> run_model_server(models, port=8500, rest_api_port=8501, host="0.0.0.0",
        ...                  model_config_file=None, config=ServerConfig())
        0
    """
    program = shutil.which(EXECUTABLE)
    if program is None:
        raise ConfigError(
            f"Expected '{EXECUTABLE}' on the PATH for engine tensorflow_serving. Received: it is not there. "
            "It comes with the image tensorflow/serving, see serving/Dockerfile.serving; the engine 'embedded' answers "
            "alike without it."
        )
    with tempfile.TemporaryDirectory(prefix="tfllm-serve-") as folder:
        file = model_config_file
        if file is None:
            file = str(Path(folder, "models.config"))
            Path(file).write_text(models_config(models), "utf-8")
            if any(model.labels for model in models):  # at the start no version is there yet
                config = dataclasses.replace(config, allow_version_labels_for_unavailable_models=True)
        flags = model_server_flags(file, port=port, rest_api_port=rest_api_port, host=host, config=config)
        return _run([program, *flags, *(f"--{name}={value}" for name, value in (engine_flags or {}).items())])


def model_server_flags(
    model_config_file: str, *, port: int, rest_api_port: int, host: str, config: ServerConfig
) -> list[str]:
    """Return the flags that say to `tensorflow_model_server` what the settings say to the embedded server.

    Args: as `run_model_server`.

    Raises:
        ConfigError: it does not have a setting.

    Example:
        >>> config = ServerConfig(enable_batching=True, grpc_max_threads=64)
        >>> model_server_flags("/config/models.config", port=8500, rest_api_port=0, host="0.0.0.0", config=config)[:2]
        ['--port=8500', '--rest_api_port=0']
    """
    if host not in _ALL_NETWORKS:
        raise ConfigError(
            f"Expected --host=0.0.0.0 for engine tensorflow_serving. Received: host='{host}'. "
            "TensorFlow Serving listens on all networks and cannot be told otherwise."
        )
    for name, value in (("port", port), ("rest_api_port", rest_api_port)):
        if not 0 <= value < 1 << 16 or (name == "port" and not value and not config.grpc_socket_path):
            raise ConfigError(f"Expected a port number for engine tensorflow_serving. Received: {name}={value}.")
    flags = [f"--port={port}", f"--rest_api_port={rest_api_port}", f"--model_config_file={model_config_file}"]
    return flags + [f"--{name}={value}" for name, value in _settings(config)]


def _settings(config: ServerConfig) -> Iterator[tuple[str, str]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in _FLAGS:
            if value != field.default:
                raise ConfigError(
                    f"Expected settings that TensorFlow Serving has. Received: {field.name}={value!r}, which is of the "
                    "embedded server alone. Leave it out, or use --engine=embedded."
                )
        elif field.name in ("grpc_max_threads", "rest_api_num_threads"):
            # It refuses what comes beyond its threads, where the embedded server lets it wait: 4 a core are too few.
            yield field.name, str(value or BatchingSettings().requests)
        elif config.tensorflow_session_parallelism and field.name in _PARALLELISM:
            continue  # it stands for both
        elif isinstance(value, bool | str):
            if value != field.default:
                yield field.name, str(value).lower() if isinstance(value, bool) else value
        elif isinstance(value, float):  # whole seconds; what is more than never is not rounded to never
            yield field.name, str(math.ceil(value))
        elif value:
            yield field.name, str(value)


def _run(command: Sequence[str]) -> int:
    process = subprocess.Popen(command)

    def hand_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
