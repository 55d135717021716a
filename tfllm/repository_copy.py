"""Copy a version to another repository: a local folder, or an address such as `gs://` and `s3://` through fsspec."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from tfllm.errors import RepositoryError
from tfllm.repository import ModelVersion, publish
from tfllm.repository_labels import refresh_config

_GRAPH = "saved_model.pb"


def copy_version(source: ModelVersion, target: str | os.PathLike[str]) -> str:
    """Copy a version to a model's folder elsewhere.

    In a local folder it gets the next number and appears at once. At an address it keeps its number, which must be
    free; its graph is written last, since no server can load a version that has none yet. What a copy that failed
    left there is removed, and what a killed one left, which has no graph, is written over.

    Args:
        source: the version.
        target: the model's folder, such as `backup/reviews` or `gs://bucket/models/reviews`. An address needs fsspec
            (`pip install 'tfllm[cloud]'`) and fsspec's package for the scheme.

    Returns:
        where the copy is.

    Raises:
        RepositoryError: the number is taken, or the target cannot be written.
        ImportError: fsspec is not installed, or what it needs.
    """
    where = os.fspath(target)
    if "://" in where:
        return _upload(source, where.rstrip("/"))
    with publish(where) as publication:
        shutil.copytree(source.path, publication.folder, dirs_exist_ok=True)
    if publication.published is None:
        raise RepositoryError(f"Expected the copy to be published under '{where}'. It was not.")
    refresh_config(where)
    return str(publication.published.path)


def _upload(source: ModelVersion, address: str) -> str:
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError:
        raise ImportError("An address needs fsspec. Install it with: pip install 'tfllm[cloud]'") from None
    files: Any
    files, base = fsspec.core.url_to_fs(address)
    place = f"{base}/{source.version}"
    inside = sorted((file for file in source.path.rglob("*") if file.is_file()), key=lambda file: file.name == _GRAPH)
    remotes = {f"{place}/{file.relative_to(source.path).as_posix()}": file for file in inside}
    there = set(files.find(place)) if files.exists(place) else set()
    if f"{place}/{_GRAPH}" in there or not there <= remotes.keys():
        raise RepositoryError(f"Expected no version {source.version} at '{address}' yet. Received: one that is there.")
    written: list[str] = []
    try:
        for remote, file in remotes.items():
            files.makedirs(remote.rpartition("/")[0], exist_ok=True)
            written.append(remote)
            files.put_file(str(Path(file)), remote)
    except BaseException as error:
        for remote in written:
            with contextlib.suppress(OSError):  # it may not be there; the first error is the one to tell
                files.rm(remote)
        if isinstance(error, OSError):
            raise RepositoryError(f"Expected an address that can be written. Received: '{address}': {error}") from error
        raise
    return f"{address}/{source.version}"
