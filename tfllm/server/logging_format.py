"""What a server's log looks like: lines for people, or one JSON object a line for programs."""

import logging
import sys
import time
from typing import IO

from pythonjsonlogger.json import JsonFormatter

_HANDLER = "tfllm"
_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def set_up_logging(kind: str = "text", level: str = "INFO", stream: IO[str] | None = None) -> None:
    """Let tfllm log to standard error; a second call replaces the first.

    Of a JSON line, `time` is in UTC, `level`, `logger` and `message` are always there, `exception` where there was one,
    and what a record was given beside its message has a key of its own.

    Args:
        kind: `json` or `text`.
        level: the least severity, such as `INFO`.
        stream: where to, instead of standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.set_name(_HANDLER)
    handler.setFormatter(_json_formatter() if kind == "json" else _text_formatter())
    logger = logging.getLogger("tfllm")
    for old in [item for item in logger.handlers if item.get_name() == _HANDLER]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False


def _json_formatter() -> logging.Formatter:
    formatter = JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        timestamp="time",
        json_ensure_ascii=False,
    )
    return formatter


def _text_formatter() -> logging.Formatter:
    formatter = logging.Formatter(_TEXT, "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    return formatter
