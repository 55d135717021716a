"""TensorFlow Serving's model configuration: the text file, and the message of a reload."""

import os
import re
from pathlib import Path
from typing import Any

from tensorflow_serving.config import model_server_config_pb2  # type: ignore[import-untyped]

from tfllm.errors import ConfigError, InvalidInput
from tfllm.server.model_config import ModelConfig, VersionPolicy
from tfllm.server.text_protos import parse_file

_URI = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def read_config_file(path: str | os.PathLike[str]) -> list[ModelConfig]:
    """Read a `--model_config_file`.

    Raises:
        ConfigError: the file cannot be read, is no ModelServerConfig, or names something that cannot be served.
    """
    message = model_server_config_pb2.ModelServerConfig()
    parse_file(path, message, "a model config file")
    if not message.HasField("model_config_list"):
        raise ConfigError(f"Expected a 'model_config_list' in the model config file. Received: '{path}' without one.")
    try:
        return read_model_configs(message.model_config_list)
    except InvalidInput as error:
        raise ConfigError(f"{error.details}, in '{path}'.") from error


def read_model_configs(message: Any) -> list[ModelConfig]:
    """Return the models of a ModelConfigList.

    Raises:
        InvalidInput: a model is there twice, or has no absolute path or no platform.
    """
    names = [config.name for config in message.config]
    for config in message.config:
        if names.count(config.name) > 1:
            raise InvalidInput(f"Illegal to list model {config.name} multiple times in config list")
    for config in message.config:
        if not os.path.isabs(config.base_path) and not _URI.match(config.base_path):
            raise InvalidInput(
                f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            )
    for config in message.config:
        _check_platform(config)
    return [
        ModelConfig(config.name, Path(config.base_path), _policy(config), dict(config.version_labels))
        for config in message.config
    ]


def _check_platform(config: Any) -> None:
    setting = "ModelServerConfig::model_type (deprecated)"
    if config.model_type and config.model_platform:
        raise InvalidInput(
            f"Illegal setting both {setting} and ModelServerConfig::model_platform, model name is {config.name}"
        )
    if not config.model_type and not config.model_platform:
        raise InvalidInput(
            f"Illegal setting neither {setting} nor ModelServerConfig::model_platform, model name is {config.name}"
        )
    tensorflow = config.model_type == model_server_config_pb2.TENSORFLOW or config.model_platform == "tensorflow"
    if not tensorflow:
        raise InvalidInput(
            f"Expected model {config.name} to have model_platform 'tensorflow'; "
            f"got model_platform={config.model_platform or 'other'}"
        )


def _policy(config: Any) -> VersionPolicy:
    policy = config.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy("all")
    if choice == "specific":
        return VersionPolicy("specific", versions=tuple(policy.specific.versions))
    return VersionPolicy(count=policy.latest.num_versions or 1)
