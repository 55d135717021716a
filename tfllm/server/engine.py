"""The serving core: which version of which model answers. It knows no protocol."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfllm.errors import InvalidInput, ModelNotFound, Overloaded, ServerUnavailable
from tfllm.server.observers import current_event
from tfllm.server.versions import ServedVersion, State

if TYPE_CHECKING:
    from tfllm.server.servable import Servable

_STARVED = 0.1  # seconds that a request has waited for a worker, which others held
_SHARED = 5.0  # seconds for which they keep to their share then


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
    """The served models, their versions and labels.

    Requests read without a lock: a change puts a new dictionary in the place of the old one. Changes come from one
    thread at a time.

    Args:
        max_users: how many requests may be under way on one model; 0 for any number.
        share: how many they may be as soon as requests to other models have to wait for them; 0 for any number.
    """

    def __init__(self, max_users: int = 0, share: int = 0) -> None:
        self._max_users = max_users
        self._share = share
        self._shared_until: dict[str, float] = {}  # of the models that others have had to wait for
        self._models: dict[str, dict[int, ServedVersion]] = {}
        self._labels: Mapping[str, Mapping[str, int]] | None = None

    @property
    def models(self) -> dict[str, tuple[int, ...]]:
        """The available versions of each model, oldest first; of a model that is no longer served, none."""
        return {
            name: tuple(number for number, item in versions.items() if item.state is State.AVAILABLE)
            for name, versions in self._models.items()
        }

    @property
    def busy(self) -> bool:
        """Whether requests are under way."""
        return any(item.users for versions in self._models.values() for item in versions.values())

    @property
    def labels(self) -> Mapping[str, Mapping[str, int]]:
        """Model name -> label -> version number."""
        return self._labels or {}

    def set_labels(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        """Give all labels anew: model name -> label -> version number."""
        self._labels = labels

    def put(self, item: ServedVersion) -> None:
        """Add a version, or put it in the place of one with its number."""
        name, number = item.source.name, item.source.version
        versions = {**self._models.get(name, {}), number: item}
        self._models = {**self._models, name: dict(sorted(versions.items()))}

    def find(self, target: Target) -> ServedVersion:
        """Return the available version that a request is for.

        Raises:
            InvalidInput: the model has no name, or the label is unknown.
            ModelNotFound: no such model or version is available.
            ServerUnavailable: the labels are not known yet.
        """
        if not target.model:
            raise InvalidInput("ModelSpec has no name specified.")
        number = target.version if target.label is None else self._labelled(target.model, target.label)
        versions = self._models.get(target.model, {})
        wanted = reversed(versions.values()) if number is None else [versions.get(number)]
        for item in wanted:
            if item is not None and item.servable is not None:
                return item
        asked = f"Latest({target.model})" if number is None else f"Specific({target.model}, {number})"
        raise ModelNotFound(f"Servable not found for request: {asked}")

    @contextlib.contextmanager
    def use(self, target: Target) -> "Iterator[Servable]":
        """Give the loaded version that a request is for; it stays loaded until the block ends.

        Raises:
            CallError: as `find`.
        """
        event = current_event()
        event.use_model(target.model)
        while True:
            item = self.find(target)
            self._make_room(target.model, event.queue_seconds)
            servable = item.acquire()
            if servable is not None:
                break  # else it was retired in between: look for another
        event.version = item.source.version
        try:
            yield servable
        finally:
            item.release()

    def _make_room(self, model: str, waited: float) -> None:
        """Refuse a request to a model that has enough of them under way.

        Whoever waits for a worker waits behind the requests to all models, so a busy one would leave the others no
        way in. Once a request has waited for such a model, that model keeps to its share for some seconds.

        Raises:
            Overloaded: it has.
        """
        if not self._max_users and not self._share:
            return
        users = self._users(model)
        if self._max_users and users >= self._max_users:
            raise Overloaded(f"{users} requests are under way on model {model}, which is the limit")
        if not self._share or len(self._models) < 2:
            return
        now = time.monotonic()
        if users >= self._share:
            if now < self._shared_until.get(model, 0.0):
                raise Overloaded(f"{users} requests are under way on model {model}, and other models are waiting")
        elif waited > _STARVED:
            others = [name for name in self._models if name != model and self._users(name) >= self._share]
            self._shared_until |= dict.fromkeys(others, now + _SHARED)

    def _users(self, model: str) -> int:
        return sum(item.users for item in self._models[model].values())

    def status(self, model: str, version: int | None = None) -> list[ServedVersion]:
        """Return all versions of a model, newest first, or the one asked for.

        Raises:
            ModelNotFound: the model or the version is unknown.
        """
        current_event().use_model(model)
        versions = self._models.get(model)
        if not versions:
            raise ModelNotFound(f"Could not find any versions of model {model}")
        if version is None:
            return list(reversed(versions.values()))
        if version not in versions:
            raise ModelNotFound(f"Could not find version {version} of model {model}")
        return [versions[version]]

    def versions(self, model: str) -> list[ServedVersion]:
        """Return all versions of a model, oldest first; none if it is unknown."""
        return list(self._models.get(model, {}).values())

    def close(self) -> None:
        """Unload every version, without waiting for requests."""
        for versions in self._models.values():
            for item in versions.values():
                if item.state is State.AVAILABLE:
                    item.retire()
                    item.drain(0)

    def _labelled(self, model: str, label: str) -> int:
        if self._labels is None:
            raise ServerUnavailable(f"Model labels does not init yet.{label}")
        number = self._labels.get(model, {}).get(label)
        if number is None:
            raise InvalidInput(f"Unrecognized servable version label: {label}")
        return number
