"""Copy a version to another repository: between folders and addresses such as `gs://` and `s3://`, both ways."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tfllm.errors import RepositoryError
from tfllm.repository import ModelVersion, publish
from tfllm.repository_labels import refresh_config
from tfllm.repository_locks import version_locked
from tfllm.repository_paths import (
    HEADS,
    files_in,
    is_address,
    located,
    on_disk,
    put_file,
    reaching,
    remove_file,
    store_of,
    unfinished,
)
from tfllm.repository_removal import end_removal


def copy_version(source: ModelVersion, target: str | os.PathLike[str]) -> str:
    """Copy a version to a model's folder elsewhere.

    In a local folder it gets the next number and appears at once. At an address it keeps its number, which must be
    free; its graph is written last, since no server can load a version that has none yet. What a copy that failed
    left there is removed, and what a killed one left, which has no graph, is written over. Of two copies of one number
    one goes through.

    Args:
        source: the version, in a folder or at an address.
        target: the model's folder, such as `backup/reviews` or `gs://bucket/models/reviews`. An address needs
            universal_pathlib (`pip install 'tfllm[cloud]'`) and fsspec's package for the scheme.

    Returns:
        where the copy is.

    Raises:
        RepositoryError: the number is taken, the version has no graph, the name of an object leads out of the version,
            or the target cannot be written.
        ImportError: universal_pathlib is not installed, or the package of the scheme.

    Example:
        >>> from tfllm.repository import find_version
        >>> base = tempfile.mkdtemp()
        >>> with publish(base + "/reviews") as publication:
        ...     _ = (publication.folder / "saved_model.pb").write_bytes(b"")
        >>> copy_version(find_version(base + "/reviews"), base + "/backup/reviews").removeprefix(base)
        '/backup/reviews/1'
    """
    if is_address(target):
        with reaching(target):
            place = located(target) / str(source.version)
            _send(source, place)
        refresh_config(target)
        return str(place)
    with publish(target) as publication:
        _fetch(source.path, publication.folder)
    if publication.published is None:
        raise RepositoryError(f"Expected the copy to be published under '{target}'. It was not.")
    refresh_config(target)
    return str(publication.published.path)


def _fetch(source: Path, folder: Path) -> None:
    if not is_address(source):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        return
    for name in _complete(source):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _get_file(source / name, folder / name)


def _send(source: ModelVersion, place: Path) -> None:
    names = _complete(source.path)
    with version_locked(place):
        end_removal(place)
        there = files_in(place).keys()
        if not there.isdisjoint(HEADS) or not there <= {*names, *map(unfinished, names)}:
            raise RepositoryError(f"Expected no version at '{place}' yet. Received: one that is there.")
        written: list[Path] = []
        try:
            for name in names:
                with _as_local_file(source.path / name) as file:
                    written.insert(0, place / name)
                    put_file(file, place / name)
        except BaseException:
            for done in written:  # the graph first
                with contextlib.suppress(Exception):  # it may not be there; the first error is the one to tell
                    remove_file(done)
            raise


def _complete(folder: Path) -> list[str]:
    """Return the files of a version, its graph last; between its listing and this it may have been removed.

    An object store takes any name, also one that would be written outside of the folder it is copied to.
    """
    with reaching(folder):
        names = sorted(files_in(folder), key=lambda name: name in HEADS)
    if not names or names[-1] not in HEADS:
        raise RepositoryError(
            f"Expected a version with one of {', '.join(HEADS)}. Received: '{folder}' with {len(names)} other files."
        )
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise RepositoryError(
                f"Expected names of objects that stay in the folder of the version. Received: '{folder}/{name}'. "
                "Nothing was copied; find out who wrote that object, and delete it."
            )
    return names


@contextlib.contextmanager
def _as_local_file(file: Path) -> Iterator[Path]:
    """Give a file of a version as a file of this machine."""
    disk = on_disk(file)
    if disk is not None:
        yield disk
        return
    with tempfile.TemporaryDirectory() as folder:
        fetched = Path(folder) / file.name
        _get_file(file, fetched)
        yield fetched


def _get_file(file: Path, target: Path) -> None:
    with reaching(file):
        store, place = store_of(file)
        store.get_file(place, str(target))
