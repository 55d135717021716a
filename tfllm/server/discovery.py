"""What is servable at a path: a folder of models, or the base folder of one, and the labels of their versions."""

import os
from pathlib import Path

from tfllm.errors import ConfigError, RepositoryError
from tfllm.repository import list_models, list_versions
from tfllm.repository_labels import labels_of
from tfllm.server.model_config import ModelConfig, VersionPolicy

_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt", "fingerprint.pb")


def find_models(path: str | os.PathLike[str], model_name: str | None = None) -> dict[str, Path]:
    """Return the base folder of each model at a path, by the name to serve it under.

    Args:
        path: a model's base folder (`<path>/<version>/`) or a folder of models (`<path>/<name>/<version>/`).
        model_name: a name for a single model, instead of its folder's.

    Raises:
        RepositoryError: nothing servable is there.
        ConfigError: a name was given for several models.
    """
    folder = Path(path).expanduser().resolve()
    if list_versions(folder):
        return {model_name or folder.name: folder}
    if any((folder / file).exists() for file in _MODEL_FILES):
        raise RepositoryError(
            f"Expected a model's base folder, '<name>/<version>/'. Received: '{path}', a SavedModel itself. "
            "Give the folder above it, with this one in it under a number, its version."
        )
    names = list(list_models(folder))
    if not names:
        raise RepositoryError(
            f"Expected models in '{path}', as '<name>/<version>/saved_model.pb' or '<version>/saved_model.pb' "
            "with a number for the version. Received: a folder without any."
        )
    if model_name is None:
        return {name: folder / name for name in names}
    if len(names) > 1:
        raise ConfigError(
            f"Expected one model to name '{model_name}'. Received: path='{path}' with {', '.join(names)}. "
            f"Give the folder of one, for example '{Path(path) / names[0]}'."
        )
    return {model_name: folder / names[0]}


def configured_models(path: str | os.PathLike[str], model_name: str | None, policy: VersionPolicy) -> list[ModelConfig]:
    """Return what a model config file says of the models at a path as they are now, with the labels that they have.

    Args:
        path: what `find_models` takes.
        model_name: a name for a single model, instead of its folder's.
        policy: which versions are served; those with a label are served too, whatever the policy.

    Raises:
        RepositoryError: nothing servable is there, or the labels of a model are damaged.
        ConfigError: a name was given for several models.
    """
    return [_configured(name, base, policy) for name, base in find_models(path, model_name).items()]


def _configured(name: str, base: Path, policy: VersionPolicy) -> ModelConfig:
    versions = list_versions(base)
    labels = labels_of(base, versions)
    if not labels:
        return ModelConfig(name, base, policy)
    served = {item.version for item in policy.choose(versions)} | set(labels.values())
    return ModelConfig(name, base, VersionPolicy("specific", versions=tuple(sorted(served))), labels)
