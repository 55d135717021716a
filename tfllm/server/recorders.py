"""Those that record requests beyond counting them, as the configuration asks: audit log, traces, request log."""

import importlib
from typing import Protocol

from tfllm.errors import ConfigError
from tfllm.server.audit import make_audit
from tfllm.server.config import ServerConfig
from tfllm.server.observers import Observer


class Recorder(Observer, Protocol):
    """An observer that has something to finish when the server stops."""

    def close(self) -> None:
        """Finish. A second call does nothing."""


def make_recorders(config: ServerConfig) -> list[Recorder]:
    """Return the recorders that a configuration asks for.

    Raises:
        ConfigError: a setting cannot be right, or needs a package that is not installed.
    """
    recorders: list[Recorder] = []
    audit = make_audit(config.audit_log_file)
    if audit is not None:
        recorders.append(audit)
    if config.trace_endpoint:
        try:
            tracing = importlib.import_module("tfllm.server.tracing")
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"Expected the package '{error.name}' for trace_endpoint. Received: it is not installed. "
                "Install it with: pip install 'tfllm[otel]'"
            ) from error
        recorders.append(tracing.Tracing(tracing.make_provider(config.trace_endpoint, config.trace_sample)))
    if config.request_log_dir:
        from tfllm.server.request_log import RequestLog

        recorders.append(
            RequestLog(config.request_log_dir, sample=config.request_log_sample, masked=config.request_log_mask)
        )
    return recorders
