"""One version of a model on its way from the disk to requests and back."""

import enum
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfllm.errors import CallError, ServerError, call_error
from tfllm.repository import ModelVersion

if TYPE_CHECKING:
    from tfllm.server.servable import Servable

logger = logging.getLogger(__name__)


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
        self._retired: Servable | None = None
        self._users = 0
        self._changed = threading.Condition()

    @property
    def users(self) -> int:
        """How many requests are under way on it."""
        return self._users

    def load(self, load: "Callable[[ModelVersion], Servable]") -> None:
        """Load the version; a failure is kept in `error` and ends it."""
        self._advance(State.LOADING)
        try:
            self.servable = load(self.source)
        except CallError as error:
            logger.error("Model '%s' version %d: %s", self.source.name, self.source.version, error.details)
            self.error = call_error(error.code, error.details)  # without the frames, which hold what was loaded
            self._advance(State.END)
        except Exception as error:  # it must neither stay LOADING nor keep others from what comes after it
            logger.exception("Model '%s' version %d cannot be loaded", self.source.name, self.source.version)
            self.error = ServerError(f"{type(error).__name__}: {error}")
            self._advance(State.END)
        else:
            self._advance(State.AVAILABLE)

    def acquire(self) -> "Servable | None":
        """Return what was loaded, and keep it loaded until `release`; None if the version is not available."""
        with self._changed:
            if self.servable is not None:
                self._users += 1
            return self.servable

    def release(self) -> None:
        """End what `acquire` began."""
        with self._changed:
            self._users -= 1
            self._changed.notify_all()

    def retire(self) -> None:
        """Take no new requests; those under way go on."""
        with self._changed:
            self._advance(State.UNLOADING)
            self._retired, self.servable = self.servable, None

    def drain(self, seconds: float | None = None) -> None:
        """Wait for the requests under way, then free a retired version.

        Args:
            seconds: how long to wait at most; without it, until the last request has ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._users, seconds)
            retired, self._retired = self._retired, None
        if retired is not None:
            retired.close()
        self._advance(State.END)

    def _advance(self, state: State) -> None:
        if state not in _NEXT[self.state]:
            raise RuntimeError(f"Expected one of {_NEXT[self.state]} after {self.state!r}. Received: {state!r}.")
        self.state = state
        logger.info("Model '%s' version %d: %s", self.source.name, self.source.version, state.name)
