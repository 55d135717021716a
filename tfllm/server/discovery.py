"""What is servable at a path: a folder of models, or the base folder of one, and the labels of their versions."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tfllm.errors import CallError, ConfigError, RepositoryError
from tfllm.repository import list_models, list_versions
from tfllm.repository_labels import read_labels
from tfllm.server.model_config import ModelConfig, VersionPolicy
from tfllm.server.versions import ServedVersion

logger = logging.getLogger(__name__)
_NEWEST = VersionPolicy()

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


def configured_models(
    path: str | os.PathLike[str], model_name: str | None = None, policy: VersionPolicy = _NEWEST
) -> list[ModelConfig]:
    """Return how each model at a path is served, with the labels that its folder keeps.

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
    there = {item.version for item in versions}
    labels = {label: number for label, number in read_labels(base).items() if number in there}
    if not labels:
        return ModelConfig(name, base, policy)
    served = {item.version for item in policy.choose(versions)} | set(labels.values())
    return ModelConfig(name, base, VersionPolicy("specific", versions=tuple(sorted(served))), labels)


class ModelFolder:
    """The models at a path: those of the start, and again when labels change, or models come.

    A model that goes stays served as it was. What cannot be used changes nothing and is named once in the log.

    Args:
        path: what `find_models` takes.
        model_name: a name for a single model, instead of its folder's.
        policy: which versions are served, beside those that have a label.
    """

    def __init__(
        self, path: str | os.PathLike[str], model_name: str | None = None, policy: VersionPolicy = _NEWEST
    ) -> None:
        self._place = Path(path), model_name, policy
        self._used: dict[str, ModelConfig] = {}
        self._complaint = ""

    def read(self) -> list[ModelConfig]:
        """Return the models that are there now; from then on, `follow` looks for changes.

        Raises:
            RepositoryError: nothing servable is there, or the labels of a model are damaged.
            ConfigError: a name was given for several models.
        """
        self._used = {model.name: model for model in configured_models(*self._place)}
        return list(self._used.values())

    def follow(self, reload: Callable[[Sequence[ModelConfig]], list[ServedVersion]]) -> None:
        """Look at the folder, and give its models to a function that serves them if something has changed."""
        try:
            found = self._used | {model.name: model for model in configured_models(*self._place)}
            if found != self._used:
                load_labelled(list(found.values()), list(self._used.values()), reload)
                self._used = found
            self._complaint = ""
        except (CallError, ConfigError, RepositoryError) as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                logger.error("The folder of models changed nothing: %s", error)


def load_labelled(
    models: Sequence[ModelConfig],
    before: Sequence[ModelConfig],
    reload: Callable[[Sequence[ModelConfig]], list[ServedVersion]],
) -> list[ServedVersion]:
    """Serve models whose labels may name versions that have still to be loaded: versions first, then the labels.

    Args:
        models: what to serve.
        before: what is served; its labels stay in use until the new versions are there.
        reload: serves models, and returns the versions that could not be loaded. A label of one of these is left out.

    Returns:
        the versions that could not be loaded.
    """
    old = {model.name: model.labels for model in before}
    kept = [
        {label: number for label, number in old.get(model.name, {}).items() if number in model.policy.versions}
        for model in models
    ]
    failed = reload([replace(model, labels=labels) for model, labels in zip(models, kept, strict=True)])
    broken = {(item.source.name, item.source.version) for item in failed}
    for name, version in sorted(broken):
        logger.error("Version %d of model '%s' cannot be loaded, and gets no label.", version, name)
    reload(
        [replace(m, labels={label: n for label, n in m.labels.items() if (m.name, n) not in broken}) for m in models]
    )
    return failed
