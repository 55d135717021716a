"""Raw text to pre-train on, read as a stream: the `Corpus`."""

import gzip
import hashlib
import itertools
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from tfllm.errors import ConfigError, DataError, EmptyDataset

CorpusSource: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

_ENDINGS = (".txt", ".txt.gz")
_LONGEST_PIECE = 1 << 16
_BLOCK = 1 << 20
_TEXTS_CHECKED = 10
_LAST_SPACE = re.compile(r"\s\S*\Z")


class Corpus:
    """Documents of plain text, read anew at each pass and never held in memory.

    Args:
        source: a folder, whose `.txt` and `.txt.gz` files (in any case) are read in the order of their names,
            sub-folders too; one such file; a list of files (of any ending, as `pathlib.Path` objects); or texts that
            can be iterated over more than once, such as a list of strings. Files are UTF-8 (a byte order mark is fine).

    A file is one document, and so is a text.

    Raises:
        DataError: a file or folder is not there, or the texts are the names of files.
        EmptyDataset: the folder has no such file.
        ConfigError: the texts can be iterated over only once.

    Example:
        >>> corpus = Corpus(["First document.", "Second document."])
        >>> [piece for document in corpus for piece in document]
        ['First document.', 'Second document.']
    """

    def __init__(self, source: CorpusSource) -> None:
        self.files: list[Path] | None = None
        self._texts: Iterable[str] = ()
        if isinstance(source, str | os.PathLike):
            self._root = Path(source)
            self.files = _files_of(self._root)
        elif iter(source) is source:
            raise ConfigError(
                "Expected a folder, files, or texts that can be read more than once. Received: "
                f"{type(source).__name__}, which can be read once only. Wrap it in a class whose __iter__ begins anew."
            )
        elif isinstance(first := next(iter(source), None), os.PathLike):
            self.files = [_require_file(Path(item)) for item in source]
            self._root = Path()
        elif first is None:
            raise EmptyDataset("Expected at least one text in the corpus. Received: none.")
        else:
            _require_no_names(itertools.islice(source, _TEXTS_CHECKED))
            self._texts = source  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Iterator[str]]:
        """Yield the documents, each an iterator over pieces of at most 65,536 characters.

        They are cut at line ends; a longer line between words, and where it has no white space, anywhere.
        """
        if self.files is not None:
            yield from map(_pieces_of_file, self.files)
            return
        for number, text in enumerate(self._texts):
            if not isinstance(text, str):
                raise DataError(f"Expected texts (str). Received: {text!r:.60} ({type(text).__name__}), text {number}.")
            yield _pieces(text)

    def fingerprint(self) -> str:
        """Return a SHA-256 of all that is read: another corpus has another one."""
        digest = hashlib.sha256()
        if self.files is None:
            for document in self:
                for piece in document:
                    digest.update(piece.encode("utf-8", "surrogatepass"))
                digest.update(b"\0")
            return digest.hexdigest()
        for file in self.files:
            digest.update(file.name.encode("utf-8", "surrogatepass") + b"\0")
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
        return digest.hexdigest()

    def __repr__(self) -> str:
        """Say what it reads."""
        what = "texts" if self.files is None else f"{len(self.files)} files"
        return f"Corpus({what})"


def _files_of(root: Path) -> list[Path]:
    if not root.is_dir():
        return [_require_file(root)]
    files = sorted(path for path in root.rglob("*") if path.name.lower().endswith(_ENDINGS) and path.is_file())
    if not files:
        raise EmptyDataset(f"Expected files that end in {' or '.join(_ENDINGS)} under '{root}'. Received: none.")
    return files


def _require_file(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"Expected a text file. Received: '{path}', which is not there.")
    return path


def _require_no_names(texts: Iterable[object]) -> None:
    """Raise `DataError` where each of the first texts is the name of a file: the names would be learnt as text."""
    first = list(texts)
    if all(isinstance(text, str) and os.path.isfile(text) for text in first):
        raise DataError(
            f"Expected texts, or files as pathlib.Path objects. Received: {first[0]!r} and the like, names of files. "
            "Give their folder, or [pathlib.Path(name) for name in names]."
        )


def _pieces_of_file(path: Path) -> Iterator[str]:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    lines: list[str] = []
    size, rest = 0, ""
    try:
        with opener(path, "rt", encoding="utf-8-sig") as stream:
            while line := rest + stream.readline(_LONGEST_PIECE - len(rest)):
                line, rest = _cut(line)
                if size + len(line) > _LONGEST_PIECE or (not line.strip() and lines):
                    yield "".join(lines)
                    lines, size = [], 0
                if line.strip():
                    lines.append(line)
                    size += len(line)
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"Expected UTF-8 text in '{path}'. Received: {error}.") from error
    if lines:
        yield "".join(lines)


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        piece, _ = _cut(text[start : start + _LONGEST_PIECE])
        yield piece
        start += len(piece)


def _cut(text: str) -> tuple[str, str]:
    """Return as much of a text as is a piece, and the rest: a text of the longest size may end inside a word."""
    if len(text) < _LONGEST_PIECE or text.endswith("\n"):
        return text, ""
    space = _LAST_SPACE.search(text)
    end = text.rfind("\n") + 1 or (space.start() + 1 if space else len(text))
    return text[:end], text[end:]
