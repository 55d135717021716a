"""The serving core: which version of which model answers. It knows no protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfllm.errors import InvalidInput, ModelNotFound
from tfllm.repository import ModelVersion
from tfllm.server.versions import ServedVersion, State

if TYPE_CHECKING:
    from tfllm.server.servable import Servable


@dataclass(frozen=True)
class Target:
    """Which model a request is for.

    Attributes:
        model: the model's name.
        version: a version number; the newest available one without it.
        label: a version label, instead of a number.
    """

    model: str
    version: int | None = None
    label: str | None = None


class Engine:
    """The served models and their versions.

    Args:
        models: model name -> its versions, oldest first.
    """

    def __init__(self, models: Mapping[str, Sequence[ServedVersion]]) -> None:
        self._models = {name: {item.source.version: item for item in versions} for name, versions in models.items()}

    @property
    def models(self) -> dict[str, tuple[int, ...]]:
        """The available versions of each model, oldest first."""
        return {
            name: tuple(number for number, item in versions.items() if item.state is State.AVAILABLE)
            for name, versions in self._models.items()
        }

    def load(self, load: Callable[[ModelVersion], "Servable"]) -> list[ServedVersion]:
        """Load every version and return those that could not be loaded."""
        items = [item for versions in self._models.values() for item in versions.values()]
        for item in items:
            item.load(load)
        return [item for item in items if item.error is not None]

    def find(self, target: Target) -> "Servable":
        """Return the loaded version that a request is for.

        Raises:
            InvalidInput: the model has no name, or the label is unknown.
            ModelNotFound: no such model or version is available.
        """
        if not target.model:
            raise InvalidInput("ModelSpec has no name specified.")
        if target.label is not None:
            raise InvalidInput(f"Unrecognized servable version label: {target.label}")
        versions = self._models.get(target.model, {})
        wanted = reversed(versions.values()) if target.version is None else [versions.get(target.version)]
        for item in wanted:
            if item is not None and item.servable is not None:
                return item.servable
        asked = f"Latest({target.model})" if target.version is None else f"Specific({target.model}, {target.version})"
        raise ModelNotFound(f"Servable not found for request: {asked}")

    def status(self, model: str, version: int | None = None) -> list[ServedVersion]:
        """Return all versions of a model, newest first, or the one asked for.

        Raises:
            ModelNotFound: the model or the version is unknown.
        """
        versions = self._models.get(model)
        if not versions:
            raise ModelNotFound(f"Could not find any versions of model {model}")
        if version is None:
            return list(reversed(versions.values()))
        if version not in versions:
            raise ModelNotFound(f"Could not find version {version} of model {model}")
        return [versions[version]]

    def close(self) -> None:
        """Unload every version."""
        for versions in self._models.values():
            for item in versions.values():
                if item.state is State.AVAILABLE:
                    item.unload()
