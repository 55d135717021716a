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

    def end(self) -> None:
        """Let the thread end after the call that it may be in, without waiting for that."""
        self._stopped.set()

    def stop(self, seconds: float | None = None) -> None:
        """End the thread after the call that it may be in, and wait for that, so many seconds at most."""
        self.end()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._action()
            except Exception:
                logger.exception("%s failed; trying again in %s s", self._thread.name, self._seconds)


class ConfigFile:
    """A model config file: its models at the start, and again each time that it has changed.

    A file that cannot be used changes nothing and is named once in the log. It is not read again while it stays the
    same, so what a reload request set in between is kept.

    Args:
        path: the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._used = b""
        self._complaint = ""

    def read(self) -> list[ModelConfig]:
        """Return the models of the file as it is now; from then on, `follow` looks for changes.

        Raises:
            ConfigError: the file cannot be used.
        """
        self._used = self._content()  # before it is parsed: what is written meanwhile is a change
        return read_config_file(self._path)

    def follow(self, reload: Callable[[list[ModelConfig]], object]) -> None:
        """Look at the file, and give its models to a function if it has changed."""
        content = self._content()
        if content == self._used:
            return
        try:
            reload(read_config_file(self._path))
        except (CallError, ConfigError) as error:  # tried again at the next look: a label may wait for its version
            if str(error) != self._complaint:
                self._complaint = str(error)
                logger.error("The model config file changed nothing: %s", error)
        else:
            self._used, self._complaint = content, ""

    def _content(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError:
            return b""
