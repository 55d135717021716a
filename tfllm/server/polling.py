"""What follows changes while a server runs: a thread that looks again and again, and the model config file."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from tfllm.errors import CallError, ConfigError
from tfllm.server.config_file import read_config_file
from tfllm.server.model_config import ModelConfig

logger = logging.getLogger(__name__)


class Poller:
    """Calls a function at intervals until it is stopped; a failure is logged and does not end it.

    Args:
        action: the function.
        seconds: the time between two calls.
        name: the thread's name.
    """

    def __init__(self, action: Callable[[], object], seconds: float, name: str) -> None:
        self._action = action
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """End the thread after the call that it may be in, and wait for that, so many seconds at most."""
        self._stopped.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._action()
            except Exception:
                logger.exception("%s failed; trying again in %s s", self._thread.name, self._seconds)


class ConfigFilePoller:
    """Gives the models of a config file to a function each time that the file has changed.

    A file that cannot be used changes nothing and is named once in the log. It is not read again while it stays the
    same, so what a reload request set in between is kept.

    Args:
        path: the file, as it has been read at the start.
        reload: takes the models.
    """

    def __init__(self, path: str | os.PathLike[str], reload: Callable[[list[ModelConfig]], object]) -> None:
        self._path = Path(path)
        self._reload = reload
        self._used = self._read()
        self._complaint = ""

    def __call__(self) -> None:
        """Look at the file."""
        content = self._read()
        if content == self._used:
            return
        try:
            self._reload(read_config_file(self._path))
        except (CallError, ConfigError) as error:  # tried again at the next look: a label may wait for its version
            if str(error) != self._complaint:
                self._complaint = str(error)
                logger.error("The model config file changed nothing: %s", error)
        else:
            self._used, self._complaint = content, ""

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError:
            return b""
