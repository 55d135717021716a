"""The request log: a sample of the requests, in files that can warm up the next version.

A model's files are in a folder of its name. A file appears whole, under its final name, once it has its records or its
hour; until then it is hidden and `.partial`. What a crash left behind is made whole at the next start of
a server on the same host, or on another one once it is so old that nobody can be writing it.
"""

import contextlib
import logging
import os
import queue
import random
import re
import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import tensorflow as tf  # type: ignore[import-untyped]

from tfllm.errors import ConfigError
from tfllm.repository import is_running
from tfllm.server.observers import RecordObserver, RequestEvent
from tfllm.server.request_log_records import can_record, make_record

logger = logging.getLogger(__name__)
FILE_RECORDS = 1000
"""The records of a file at most, as many as TensorFlow Serving takes for a warm-up."""

_FILE_SECONDS = 3600.0
_LEFT_SECONDS = 2 * _FILE_SECONDS  # without a record, on another host: its writer has gone
_FILES_KEPT = 24  # of a model
_WAITING = 256  # requests that may wait to be written; more are not recorded
_REQUEST_BYTES = 1 << 20  # larger requests are not recorded, so that those that wait have a bound
_PARTIAL = ".partial-"
_NAME = re.compile(
    rf"{re.escape(_PARTIAL)}(?P<time>\d{{8}}T\d{{6}}Z)-(?:(?P<host>.+)-)?(?P<pid>\d{{1,9}})-\d+\.tfrecord"
)


@dataclass
class _File:
    """A file that is being written."""

    partial: Path
    final: Path
    writer: Any
    opened: float = field(default_factory=time.monotonic)
    records: int = 0


class RequestLog:
    """Observes requests and writes a sample of them, in a thread of its own.

    A request is never held up: what cannot be written in time is not recorded, and `dropped` counts it.

    Args:
        folder: where the files go.
        sample: the share of requests to record, from 0 to 1.
        masked: whether personal data in texts is masked.

    Attributes:
        recorded: how many requests have been written.
        dropped: how many could not be, because of their size, too many others, or a disk that fails.

    Raises:
        ConfigError: the share is no share, or the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str], *, sample: float = 0.01, masked: bool = True) -> None:
        if not 0 <= sample <= 1:
            raise ConfigError(f"Expected request_log_sample from 0 to 1. Received: request_log_sample={sample}.")
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _mend(self._folder)
        except OSError as error:
            raise ConfigError(f"Expected a request_log_dir to write to. Received: '{folder}': {error}") from error
        self._sample = sample
        self._masked = masked
        self.recorded = 0
        self.dropped = 0
        self._lock = threading.Lock()
        self._told: list[RecordObserver] = []
        self._files: dict[str, _File] = {}
        self._count = 0
        self._waiting: queue.Queue[RequestEvent | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="tfllm-request-log", daemon=True)
        self._thread.start()

    def report_to(self, observer: RecordObserver) -> None:
        """Tell an observer of each record that is written, and of each that could not be."""
        self._told.append(observer)

    def on_request(self, event: RequestEvent) -> None:
        """Take a request into the sample, or not."""
        if random.random() >= self._sample or not can_record(event):
            return
        try:
            if event.request_bytes > _REQUEST_BYTES:
                raise queue.Full
            self._waiting.put_nowait(event)
        except queue.Full:
            self._report(event.model, "RESOURCE_EXHAUSTED")

    def close(self) -> None:
        """Write what waits and finish the files. A second call does nothing."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _run(self) -> None:
        ending = False
        while not ending:
            with contextlib.suppress(queue.Empty):
                event = self._waiting.get(timeout=1.0)
                if event is None:
                    ending = True
                else:
                    self._take(event)
            self._finish(older_than=0.0 if ending else _FILE_SECONDS)

    def _take(self, event: RequestEvent) -> None:
        try:
            self._write(event)
        except Exception:
            self._report(event.model, "INTERNAL")
            logger.exception("A request to '%s' could not be recorded", event.model)
        else:
            self._report(event.model, "OK")

    def _report(self, model: str, status: str) -> None:
        with self._lock:
            if status == "OK":
                self.recorded += 1
            else:
                self.dropped += 1
        for observer in self._told:
            try:
                observer.on_record(model, status)
            except Exception:
                logger.exception("%s failed", type(observer).__name__)

    def _write(self, event: RequestEvent) -> None:
        record = make_record(event, self._sample, self._masked)
        file = self._files.get(event.model)
        if file is not None and not file.partial.exists():
            del self._files[event.model]
            logger.error("'%s' has been removed while it was written. Lost: %d records.", file.partial, file.records)
            file = None
        file = file or self._open(event.model)
        try:
            file.writer.write(record)
            file.writer.flush()
        except tf.errors.OpError:
            del self._files[event.model]  # its end may be broken now, which the next start mends
            raise
        file.records += 1

    def _open(self, model: str) -> _File:
        folder = self._folder / _folder_name(model)
        folder.mkdir(parents=True, exist_ok=True)
        self._count += 1
        partial = folder / _partial_name(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), self._count)
        self._files[model] = _File(partial, _final(partial), tf.io.TFRecordWriter(str(partial)))
        return self._files[model]

    def _finish(self, older_than: float) -> None:
        now = time.monotonic()
        for model, file in list(self._files.items()):
            if file.records >= FILE_RECORDS or now - file.opened >= older_than:
                del self._files[model]
                try:
                    file.writer.close()
                    _publish(file.partial, file.final)
                except Exception:
                    logger.exception("'%s' could not be finished. Lost: %d records.", file.partial, file.records)


def _folder_name(model: str) -> str:
    """Return a model's name as that of one visible folder, whatever is in it."""
    name = quote(model, safe="")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _publish(partial: Path, final: Path) -> None:
    """Give a file its name once it is on the disk, and remove the oldest files beside it."""
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    partial.rename(final)
    whole = [path for path in final.parent.glob("*.tfrecord") if not path.name.startswith(".")]
    for old in sorted(whole, key=lambda path: path.stat().st_mtime_ns)[:-_FILES_KEPT]:
        old.unlink(missing_ok=True)


def _partial_name(opened: str, number: int) -> str:
    """Return a name that no other writer has: containers that share a folder may all have the process number 1."""
    return f"{_PARTIAL}{opened}-{socket.gethostname()}-{os.getpid()}-{number}.tfrecord"


def _final(partial: Path) -> Path:
    return partial.with_name(partial.name.removeprefix(_PARTIAL))


def _mend(folder: Path) -> None:
    """Make whole files of those that were being written when their process ended."""
    for partial in folder.glob(f"*/{_PARTIAL}*.tfrecord"):
        name = _NAME.fullmatch(partial.name)
        with contextlib.suppress(FileNotFoundError):  # another server may mend it, or finish it
            if name is not None and _is_left(partial, name):
                own = partial.with_name(_partial_name(name["time"], uuid.uuid4().int % 10**9))
                partial.rename(own)  # of several servers that start, one has it
                os.utime(own)
                _repair(own)


def _is_left(partial: Path, name: re.Match[str]) -> bool:
    if name["host"] == socket.gethostname():
        return not _is_running(int(name["pid"]))
    return time.time() - partial.stat().st_mtime > _LEFT_SECONDS


def _repair(partial: Path) -> None:
    """Publish the whole records of a file, and remove it."""
    mended = partial.with_name(partial.name + ".mended")
    records = 0
    with tf.io.TFRecordWriter(str(mended)) as writer, contextlib.suppress(tf.errors.DataLossError):
        for record in tf.compat.v1.io.tf_record_iterator(str(partial)):
            writer.write(record)
            records += 1
    if records:
        _publish(mended, _final(partial))
    else:
        mended.unlink()
    partial.unlink()


def _is_running(pid: int) -> bool:
    return pid != os.getpid() and is_running(pid)  # of an earlier process: this one has not written yet
