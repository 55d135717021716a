"""The versions of one model: which to load, and what state each is in."""

import enum
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tfllm.errors import CallError, ConfigError
from tfllm.repository import ModelVersion, list_versions

if TYPE_CHECKING:
    from tfllm.server.servable import Servable

logger = logging.getLogger(__name__)

POLICIES = ("latest", "all")


class State(enum.IntEnum):
    """The states of a version, with TensorFlow Serving's numbers."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


_NEXT = {
    State.START: (State.LOADING,),
    State.LOADING: (State.AVAILABLE, State.END),
    State.AVAILABLE: (State.UNLOADING,),
    State.UNLOADING: (State.END,),
    State.END: (),
}


class ServedVersion:
    """One version on its way through the states.

    Args:
        source: the version on disk.

    Attributes:
        source: the version on disk.
        state: its state.
        error: why it could not be loaded, if it could not.
        servable: what was loaded, while the version is available.
    """

    def __init__(self, source: ModelVersion) -> None:
        self.source = source
        self.state = State.START
        self.error: CallError | None = None
        self.servable: Servable | None = None

    def load(self, load: "Callable[[ModelVersion], Servable]") -> None:
        """Load the version; a failure is kept in `error` and ends it."""
        self._advance(State.LOADING)
        try:
            self.servable = load(self.source)
        except CallError as error:
            logger.error("Model '%s' version %d: %s", self.source.name, self.source.version, error.details)
            self.error = error
            self._advance(State.END)
        else:
            self._advance(State.AVAILABLE)

    def unload(self) -> None:
        """Free the version."""
        self._advance(State.UNLOADING)
        servable, self.servable = self.servable, None
        if servable is not None:
            servable.close()
        self._advance(State.END)

    def _advance(self, state: State) -> None:
        if state not in _NEXT[self.state]:
            raise RuntimeError(f"Expected one of {_NEXT[self.state]} after {self.state!r}. Received: {state!r}.")
        self.state = state
        logger.info("Model '%s' version %d: %s", self.source.name, self.source.version, state.name)


def choose_versions(name: str, base_path: str | os.PathLike[str], policy: str = "latest") -> list[ServedVersion]:
    """Return the versions under a model's folder that the policy loads, oldest first.

    Args:
        name: the name to serve the model under.
        base_path: the model's folder.
        policy: `"latest"` for the newest version, `"all"` for every one.

    Raises:
        ConfigError: the policy is unknown.
    """
    if policy not in POLICIES:
        raise ConfigError(f"Expected version_policy 'latest' or 'all'. Received: version_policy={policy!r}.")
    versions = list_versions(base_path)
    return [ServedVersion(replace(source, name=name)) for source in (versions if policy == "all" else versions[-1:])]
