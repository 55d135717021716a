"""Remove a version so that no server can load half of it.

A folder goes by one rename. At an address the graph goes first, and a mark beside the version says until the end that
it is being removed, so that the next prune or copy ends what a killed one began. Standard library only.
"""

import re
import shutil
import tempfile
from pathlib import Path

from tfllm.repository_locks import version_locked
from tfllm.repository_paths import HEADS, files_in, is_address, on_disk, remove_file, store_of, write_text

_MARK = re.compile(r"\.removing-([0-9]{1,18})")


def remove_version(place: Path) -> None:
    """Remove a version.

    Raises:
        RepositoryError: at an address somebody else is writing or removing it.
    """
    if is_address(place):
        with version_locked(place):
            write_text(_mark_of(place), "")
            for name in HEADS:
                remove_file(place / name)
            end_removal(place)
        return
    hidden = Path(tempfile.mkdtemp(prefix=".removed-", dir=place.parent))
    place.rename(hidden / place.name)  # one rename: a reader sees the version whole or not at all
    shutil.rmtree(hidden)


def end_removals(base: Path) -> None:
    """Remove what killed writers at an address have left of versions that they were removing."""
    for entry in list(base.iterdir()) if is_address(base) else []:
        match = _MARK.fullmatch(entry.name)
        if match:
            with version_locked(base / match[1]):
                end_removal(base / match[1])


def end_removal(place: Path) -> None:
    """Remove the rest of a version at an address, if it is marked; for who holds the lock of the version.

    With its graph still there it is a version, which may have got a label since; then the mark alone goes.
    """
    mark = _mark_of(place)
    if not mark.exists():
        return
    files = files_in(place)
    if files.keys().isdisjoint(HEADS):
        disk = on_disk(place)
        if disk is not None:
            shutil.rmtree(disk, ignore_errors=True)
        elif files:
            store, path = store_of(place)
            store.rm(path, recursive=True)
    remove_file(mark)


def _mark_of(place: Path) -> Path:
    return place.parent / f".removing-{place.name}"
