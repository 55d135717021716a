"""Where models lie: in a folder of this machine, or at an address such as `gs://` and `s3://`.

An address becomes a `UPath` (universal_pathlib, on fsspec), which has the methods of a `Path`. An object store has no
folders, no rename and no flock, but it writes each object as a whole. Standard library only until there is an address.
"""

import contextlib
import functools
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from tfllm.errors import RepositoryError, TfllmError

HEADS = ("saved_model.pb", "saved_model.pbtxt", "index.json")
"""A version has one of these files, the graph or what a search index is. At an address it is written last."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def is_address(path: str | os.PathLike[str]) -> bool:
    """Tell whether this is an address; a `Path` never is one, since it takes `//` for `/`.

    Example:
        >>> is_address("gs://bucket/models"), is_address("saved_models")
        (True, False)
    """
    return "://" in str(path)


def located(path: str | os.PathLike[str]) -> Path:
    """Return a `Path`, or of an address a `UPath` that has forgotten what it listed before.

    Raises:
        ImportError: universal_pathlib or the package of the scheme is not installed.
        RepositoryError: no package is known for the scheme.

    Example:
        >>> located("saved_models") / "reviews"
        PosixPath('saved_models/reviews')
    """
    if not is_address(path):
        return Path(path)
    try:
        from upath import UPath
    except ImportError:
        raise ImportError("An address needs universal_pathlib. Install it with: pip install 'tfllm[cloud]'") from None
    with reaching(path):
        place: Any = UPath(path)
        place.fs.invalidate_cache()
    return cast(Path, place)


def local_folder(path: str | os.PathLike[str]) -> Path:
    """Return the path of a folder of this machine; `gs://bucket/x` would become a folder named `gs:`.

    Raises:
        RepositoryError: it is an address.
    """
    if is_address(path):
        raise RepositoryError(
            f"Expected a folder of this machine. Received: the address '{path}'. Export to a folder, then "
            "copy the version there: tfllm models copy NAME ADDRESS"
        )
    return Path(path)


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return the full path of a folder; an address is one already."""
    return located(path) if is_address(path) else Path(os.path.abspath(path))


@contextlib.contextmanager
def reaching(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the package of an address raises into a `RepositoryError`; errors of local folders stay."""
    try:
        yield
    except (TfllmError, ImportError):
        raise
    except Exception as error:
        if not is_address(path):
            raise
        raise RepositoryError(
            f"Expected an address that can be reached. Received: '{path}': {type(error).__name__}: {error}. "
            "Check the address, the credentials and the network."
        ) from error


def reaches_first(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Call a function within `reaching` its first argument."""
    name = next(iter(inspect.signature(function).parameters))

    @functools.wraps(function)
    def reached(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        path: Any = args[0] if args else kwargs.get(name, "")
        with reaching(path):
            return function(*args, **kwargs)

    return reached


def on_disk(path: Path) -> Path | None:
    """Return the local path of a folder or file, also of a `file://` address; None if it is elsewhere."""
    return Path(os.fspath(path)) if isinstance(path, os.PathLike) else None


def store_of(path: Path) -> tuple[Any, str]:
    """Return the filesystem of an address, and the path there."""
    place: Any = path
    return place.fs, place.path


def files_in(folder: Path) -> dict[str, int]:
    """Return path below the folder -> bytes, of all files; at an address by one listing."""
    disk = on_disk(folder)
    if disk is not None:
        return {file.relative_to(disk).as_posix(): file.stat().st_size for file in disk.rglob("*") if file.is_file()}
    store, place = store_of(folder)
    base, found = f"{place}/", store.find(place, detail=True)
    return {name.removeprefix(base): info["size"] for name, info in found.items() if _is_file_in(base, name)}


def _is_file_in(base: str, name: str) -> bool:
    """Leave out objects that stand for a folder, as some programs make them."""
    return name.startswith(base) and not name.endswith("/")


def read_text(file: Path) -> str | None:
    """Return what a file says; None if it is not there.

    Raises:
        RepositoryError: the address cannot be reached.
    """
    with reaching(file):
        try:
            return file.read_text("utf-8")
        except FileNotFoundError:  # not asked for before: `is_file` of an address is False for any error
            return None


def write_text(file: Path, text: str) -> None:
    """Write a file as a whole: by one rename, or as one object."""
    disk = on_disk(file)
    if disk is None:
        store, place = store_of(file)
        store.pipe_file(place, text.encode())
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=disk.parent, prefix=".", delete=False) as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, disk)


def unfinished(name: str) -> str:
    """Return the name under which `put_file` writes a file of a `file://` address before it is whole."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}.{last}.part"


def put_file(source: Path, file: Path) -> None:
    """Copy a local file to an address as a whole: as one object, or at `file://` by one rename."""
    disk = on_disk(file)
    if disk is None:
        store, place = store_of(file)
        store.put_file(str(source), place)
        return
    disk.parent.mkdir(parents=True, exist_ok=True)
    part = disk.with_name(unfinished(disk.name))
    try:
        shutil.copyfile(source, part)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(part, disk)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            part.unlink()
        raise


def remove_file(file: Path) -> None:
    """Remove a file of an address, if it is there."""
    store, place = store_of(file)
    with contextlib.suppress(FileNotFoundError):
        store.rm_file(place)
