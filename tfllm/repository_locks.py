"""One writer at a time: flock in a folder, and at an address an object that only one writer can create.

The object names its holder. Who comes second waits, and takes it over where the holder is a dead process of this host.
Standard library only.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import random
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfllm.errors import RepositoryError
from tfllm.repository import is_running
from tfllm.repository_paths import is_address, on_disk, remove_file, store_of

logger = logging.getLogger(__name__)

WAIT = 10.0
"""Seconds that a second writer waits at an address."""

_EXCLUSIVE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
"""Schemes whose package creates an object only if there is none, as one step at the store; `file` is done here."""


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Let one writer of the labels and the `models.config` of this root at a time on.

    Raises:
        RepositoryError: the root cannot be written, or another writer of the address does not end.
    """
    if is_address(root):
        with _object_lock(root / ".lock.json"):
            yield
        return
    try:
        stream = (root / ".lock").open("w")
    except OSError as error:
        raise RepositoryError(
            f"Expected a folder of models that can be written. Received: '{root}': {error}"
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def version_locked(place: Path) -> Iterator[None]:
    """Let one writer of this version at an address at a time on.

    Raises:
        RepositoryError: the address cannot be written, or another writer does not end.
    """
    with _object_lock(place.parent / f".lock-{place.name}.json"):
        yield


@contextlib.contextmanager
def _object_lock(file: Path) -> Iterator[None]:
    mine = json.dumps(_own_mark()).encode()
    _acquire(file, mine)
    try:
        _require_exclusive_creation(file, mine)
        if on_disk(file) is None:
            store_of(file)[0].invalidate_cache()  # what was listed before may have changed
        yield
    finally:
        _release(file, mine)


def _release(file: Path, mine: bytes) -> None:
    """Remove the lock; an error is logged, since what was done under the lock is done, or has an error of its own."""
    try:
        if _content(file) == mine:
            remove_file(file)
    except Exception as error:  # noqa: BLE001 - each store raises errors of its own
        logger.warning(
            "Expected to remove the lock '%s' at the end. Received: %s: %s. Delete it if it still names process %d.",
            file,
            type(error).__name__,
            error,
            os.getpid(),
        )


def _own_mark() -> dict[str, Any]:
    """Say who holds a lock; processes of two containers may have one host name, but not one namespace."""
    mark = {"host": socket.gethostname(), "pid": os.getpid(), "namespace": _namespace()}
    return {**mark, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "id": uuid.uuid4().hex}


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _acquire(file: Path, mine: bytes) -> None:
    deadline = time.monotonic() + WAIT
    while not _create(file, mine):
        found = _content(file)
        if found == mine:  # created by a request whose answer was lost, and which was sent again
            return
        holder = _holder(found)
        if found is not None and _is_dead(holder):
            _take_away(file, found)
        elif time.monotonic() > deadline:
            raise RepositoryError(
                f"Expected no other writer at '{file.parent}'. Received: a lock of {_named(holder)}. Try again when it "
                f"has ended; if it is dead, delete '{file}'."
            )
        else:
            time.sleep(random.uniform(0.05, 0.2))


def _create(file: Path, data: bytes) -> bool:
    """Write the file unless it is there, as one step; return whether it was written."""
    disk = on_disk(file)
    if disk is not None:
        return _link(disk, data)
    store, place = store_of(file)
    scheme = str(file).partition("://")[0]
    if scheme not in _EXCLUSIVE:
        raise RepositoryError(
            f"Expected an address that two writers cannot change at once: {', '.join(sorted(_EXCLUSIVE))} or file. "
            f"Received: '{file.parent}'. Copy to a folder, and from there by other means."
        )
    try:
        store.pipe_file(place, data, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        # of s3fs: HTTP 409, another one is just creating it, and in some versions 412, it is there
        if error.errno == errno.EBUSY or (error.errno == errno.EINVAL and _content(file) is not None):
            return False
        raise
    return True


def _link(file: Path, data: bytes) -> bool:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".") as stream:
        stream.write(data)
        stream.flush()
        os.chmod(stream.name, 0o644)
        try:
            os.link(stream.name, file)  # never seen without its content
        except FileExistsError:
            return False
    return True


def _require_exclusive_creation(file: Path, mine: bytes) -> None:
    """Create the lock that is there once more: some stores take no notice of the condition, and say so nowhere."""
    if _create(file, mine):
        raise RepositoryError(
            f"Expected a store that creates an object only if there is none. Received: '{file.parent}', which wrote "
            "one twice, so that two writers could overwrite each other. Take a store that knows If-None-Match."
        )


def _content(file: Path) -> bytes | None:
    try:
        disk = on_disk(file)
        if disk is not None:
            return disk.read_bytes()
        store, place = store_of(file)
        found: bytes = store.cat_file(place)
        return found
    except FileNotFoundError:
        return None


def _holder(found: bytes | None) -> dict[str, Any]:
    try:
        holder = json.loads(found or b"")
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _named(holder: dict[str, Any]) -> str:
    if not holder:
        return "a process that it does not name"
    return f"process {holder.get('pid')} on host '{holder.get('host')}' since {holder.get('time')}"


def _is_dead(holder: dict[str, Any]) -> bool:
    here = (holder.get("host"), holder.get("namespace")) == (socket.gethostname(), _namespace())
    return here and isinstance(holder.get("pid"), int) and not is_running(holder["pid"])


def _take_away(file: Path, found: bytes) -> None:
    """Remove the lock of a dead process of this host, unless another process of this host has done so already."""
    descriptor = os.open("/", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _content(file) == found:
            remove_file(file)
    finally:
        os.close(descriptor)
