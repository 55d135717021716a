"""The audit log: a line for each call, saying who asked which model, and never what."""

import json
import logging
import sys
from pathlib import Path

from tfllm.errors import ConfigError
from tfllm.server.observers import RequestEvent

_STDERR = "-"


class AuditLog:
    """Writes a JSON object a line for each request.

    Args:
        path: the file, which is added to; `-` is standard error.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: str) -> None:
        try:
            handler = logging.StreamHandler(sys.stderr) if path == _STDERR else logging.FileHandler(path, delay=False)
        except OSError as error:
            raise ConfigError(f"Expected a file to write the audit log to. Received: '{path}': {error}") from error
        handler.setFormatter(logging.Formatter("%(message)s"))
        self._handler: logging.Handler = handler

    def on_request(self, event: RequestEvent) -> None:
        """Write the line of a request."""
        line = json.dumps(
            {
                "time": round(event.started, 3),
                "caller": event.caller,
                "entrypoint": event.entrypoint,
                "method": event.method,
                "model": event.model,
                "version": event.version,
                "signature": event.signature,
                "rows": event.rows,
                "bytes": event.request_bytes,
                "status": event.status,
                "ms": round(event.seconds * 1000, 3),
            }
        )
        self._handler.handle(logging.LogRecord(__name__, logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


def make_audit(path: str) -> AuditLog | None:
    """Return the audit log of a server's settings, if they name one."""
    return AuditLog(str(Path(path).expanduser()) if path != _STDERR else path) if path else None
