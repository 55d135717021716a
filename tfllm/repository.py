"""The directory format of served models: `<base>/<version>/`, versions published whole or not at all.

A version is a folder whose name is a positive integer. It is written in a hidden folder beside its place and moved
there by one rename, so a reader (TensorFlow Serving polls these folders) never sees half of it, whatever kills the
writer. At an address (`gs://`, `s3://`) there is no rename, and a version is one when its graph is there, which is
written last and removed first. Standard library only: the server, the exporter and the command line all read models
through this module.
"""

import contextlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfllm.errors import RepositoryError, VersionNotFound
from tfllm.repository_paths import HEADS, absolute, files_in, is_address, local_folder, located, reaches_first, reaching

CONTRACT_FILE = "assets.extra/tfllm.json"
"""The contract of a version, relative to the version folder."""

_VERSION = re.compile(r"[0-9]{1,18}")
_PARTIAL_PREFIX = ".partial-"


@dataclass(frozen=True)
class ModelVersion:
    """One version of one model.

    Attributes:
        name: the model's name, the name of its folder.
        version: the version number.
        path: the version's folder; at an address a `UPath`, which has the methods of a `Path`.
    """

    name: str
    version: int
    path: Path

    @property
    def size(self) -> int:
        """The bytes of all files of the version."""
        with reaching(self.path):
            return sum(files_in(self.path).values())


@reaches_first
def list_versions(base_path: str | os.PathLike[str]) -> list[ModelVersion]:
    """Return the versions under a model's folder or address, oldest first; none if it does not exist.

    Like TensorFlow Serving, only folders whose whole name is a number count, and at an address only those with a graph.

    Raises:
        RepositoryError: the address cannot be reached.
        ImportError: universal_pathlib or the package of the address's scheme is not installed.
    """
    base = located(base_path)
    if not base.is_dir():
        return []
    name = _model_name(base)
    found = [
        ModelVersion(name, int(entry.name), entry)
        for entry in base.iterdir()
        if _VERSION.fullmatch(entry.name) and _is_version(entry)
    ]
    return sorted(found, key=lambda item: item.version)


def _is_version(entry: Path) -> bool:
    """At an address what has no graph is being written or removed, or was when its writer was killed."""
    return any((entry / name).is_file() for name in HEADS) if is_address(entry) else entry.is_dir()


@reaches_first
def list_models(root: str | os.PathLike[str]) -> dict[str, list[ModelVersion]]:
    """Return each model under a folder or address that has at least one version, by name.

    Raises:
        RepositoryError: there is no such folder, or the address cannot be reached.
        ImportError: universal_pathlib or the package of the address's scheme is not installed.
    """
    folder = located(root)
    if not folder.is_dir():
        raise RepositoryError(f"Expected a folder of models. Received: '{folder}', which does not exist.")
    models = {entry.name: list_versions(entry) for entry in sorted(folder.iterdir()) if entry.is_dir()}
    return {name: versions for name, versions in models.items() if versions}


def find_version(base_path: str | os.PathLike[str], version: int | None = None) -> ModelVersion:
    """Return one version, the newest unless a number is given.

    Raises:
        VersionNotFound: there is no such version.
        RepositoryError: the address cannot be reached.
        ImportError: universal_pathlib or the package of the address's scheme is not installed.
    """
    versions = list_versions(base_path)
    chosen = versions if version is None else [item for item in versions if item.version == version]
    if not chosen:
        have = ", ".join(str(item.version) for item in versions) or "none"
        asked = "a version" if version is None else f"version {version}"
        raise VersionNotFound(f"Expected {asked} of the model in '{base_path}'. Available: {have}.")
    return chosen[-1]


def next_version(base_path: str | os.PathLike[str]) -> int:
    """Return the number after the newest version, 1 for a new model."""
    versions = list_versions(base_path)
    return versions[-1].version + 1 if versions else 1


class Publication:
    """A version being written: fill `folder`, and it is published when the `publish` block ends without an error.

    Attributes:
        folder: where to write; outside readers do not see it.
        published: the version, set once it is published.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.published: ModelVersion | None = None


@contextlib.contextmanager
def publish(base_path: str | os.PathLike[str]) -> Iterator[Publication]:
    """Write the next version of a model, atomically.

    On an error inside the block nothing is published and the partial folder is removed. After a kill the partial
    folder stays, hidden, and the next publication on the same host removes it. Two publishers at once get two numbers.

    Raises:
        RepositoryError: the folder is an address or cannot be written, or the block wrote no files.

    Example:
        >>> with publish(tempfile.mkdtemp() + "/reviews") as publication:
        ...     _ = (publication.folder / "saved_model.pb").write_bytes(b"")
        >>> publication.published.version
        1
    """
    base = local_folder(base_path)
    try:
        base.mkdir(parents=True, exist_ok=True)
        remove_partial_versions(base)
        partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL_PREFIX}{socket.gethostname()}-{os.getpid()}-", dir=base))
        partial.chmod(0o755)
    except OSError as error:
        raise RepositoryError(f"Expected a model folder that can be written. Received: '{base}': {error}") from error
    publication = Publication(partial)
    try:
        yield publication
        if not any(partial.iterdir()):
            raise RepositoryError(f"Expected files in the new version of '{base}'. Received: an empty folder.")
        _flush_to_disk(partial)
        publication.published = _move_to_next_version(base, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial_versions(base_path: str | os.PathLike[str]) -> list[Path]:
    """Remove what killed writers on this host left behind; those of writers that still run stay."""
    removed = []
    own = re.compile(rf"{re.escape(_PARTIAL_PREFIX + socket.gethostname())}-([0-9]{{1,9}})-[a-z0-9_]+")
    for entry in Path(base_path).iterdir():
        match = own.fullmatch(entry.name)  # the whole name: host `web` must not take those of host `web-1` for its own
        if match and not is_running(int(match[1])):
            shutil.rmtree(entry, ignore_errors=True)
            removed.append(entry)
    return removed


def is_running(pid: int) -> bool:
    """Tell whether there is such a process on this host.

    Example:
        >>> is_running(os.getpid())
        True
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _move_to_next_version(base: Path, partial: Path) -> ModelVersion:
    version = next_version(base)
    while True:
        target = base / str(version)
        try:
            partial.rename(target)
        except OSError:
            if not target.exists():
                raise
            version += 1  # another publisher, or a file, took this number: take the next
            continue
        _flush_folder(base)
        return ModelVersion(_model_name(base), version, target)


def _model_name(base: Path) -> str:
    name = absolute(base).name
    if not name:
        raise RepositoryError(f"Expected a model's folder, such as '{base}/reviews'. Received: '{base}' alone.")
    return name


def _flush_to_disk(folder: Path) -> None:
    """Make the files durable before they become visible."""
    for file in folder.rglob("*"):
        if file.is_dir():
            _flush_folder(file)
        else:
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
