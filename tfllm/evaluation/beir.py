"""Retrieval data in the layout of BEIR (Thakur et al., 2021): `load_beir`."""

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfllm.errors import BadRow, DataError

_FIELDS = {"_id": (str, int), "text": str, "title": (str, type(None))}


@dataclass(frozen=True)
class RetrievalData:
    """Documents, queries, and which documents answer which query.

    Attributes:
        documents: id -> text; a title goes before it, with a space between.
        queries: id -> text, of the queries that have judgements.
        judgements: query id -> document id -> relevance; 0 is not relevant.

    Example:
        >>> RetrievalData({"d1": "Paris is in France."}, {"q1": "Where is Paris?"}, {"q1": {"d1": 1}})
        RetrievalData(1 documents, 1 queries, 1 judgements)
    """

    documents: dict[str, str]
    queries: dict[str, str]
    judgements: dict[str, dict[str, int]]

    def __repr__(self) -> str:
        judged = sum(map(len, self.judgements.values()))
        return f"RetrievalData({len(self.documents)} documents, {len(self.queries)} queries, {judged} judgements)"


def load_beir(folder: str | os.PathLike[str], split: str = "test") -> RetrievalData:
    """Load retrieval data in the layout of BEIR.

    Args:
        folder: holds `corpus.jsonl` (`_id`, `title`, `text`) and `queries.jsonl` (`_id`, `text`), each also with `.gz`,
            and `qrels/<split>.tsv` (query id, document id, relevance, with a header or without one). Files are UTF-8 (a
            byte order mark is fine).
        split: which judgements.

    Returns:
        The data; queries without judgements of the split are left out.

    Raises:
        DataError: a file is missing or damaged, or judgements name a query or document that is not there.
        BadRow: a line cannot be read, or has an id that came before; the message names file and line.

    Example:
        >>> folder = Path("beir"); (folder / "qrels").mkdir(parents=True)
        >>> _ = (folder / "corpus.jsonl").write_text('{"_id": "d1", "title": "Paris", "text": "A city."}')
        >>> _ = (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "Where is Paris?"}')
        >>> _ = (folder / "qrels" / "test.tsv").write_text("query-id\\tcorpus-id\\tscore\\nq1\\td1\\t1")
        >>> load_beir(folder).documents
        {'d1': 'Paris A city.'}
    """
    base = Path(folder)
    documents, queries = _texts(base, "corpus.jsonl"), _texts(base, "queries.jsonl")
    judgements: dict[str, dict[str, int]] = {}
    for place, query, document, relevance in _judgements(base / "qrels" / f"{split}.tsv"):
        if query not in queries or document not in documents:
            raise DataError(
                f"Expected ids of queries.jsonl and corpus.jsonl in {place}. Received: query '{query}', "
                f"document '{document}'."
            )
        judgements.setdefault(query, {})[document] = relevance
    if not judgements:
        raise DataError(f"Expected judgements for split '{split}' in '{base}'. Received: none.")
    return RetrievalData(documents, {query: queries[query] for query in judgements}, judgements)


def _texts(base: Path, name: str) -> dict[str, str]:
    file = next((file for file in (base / name, base / f"{name}.gz") if file.is_file()), None)
    if file is None:
        raise DataError(f"Expected '{name}' or '{name}.gz' in '{base}'. Received: no such file.")
    found: dict[str, str] = {}
    for number, line in _lines(file):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not all(isinstance(row.get(key), kinds) for key, kinds in _FIELDS.items()):
            raise BadRow(
                f"Expected JSON with '_id' and 'text' in line {number} of '{file}'. Received: {line[:60]!r}. "
                "A text and its title are strings; a title may be left out."
            )
        row_id = str(row["_id"])
        if row_id in found:
            raise BadRow(f"Expected each '_id' once in '{file}'. Received: {row_id!r} again in line {number}.")
        found[row_id] = f"{row.get('title') or ''} {row['text']}".strip()
    return found


def _judgements(file: Path) -> Iterator[tuple[str, str, str, int]]:
    if not file.is_file():
        have = ", ".join(sorted(path.stem for path in file.parent.glob("*.tsv"))) or "none"
        raise DataError(f"Expected judgements at '{file}'. Available splits: {have}.")
    for number, line in _lines(file):
        cells = line.split("\t")
        try:
            query, document, relevance = cells[0], cells[1], int(cells[2])
        except (ValueError, IndexError):
            if number == 1:  # the header
                continue
            raise BadRow(
                f"Expected query id, document id and a whole number, with tabs between, in line {number} of '{file}'. "
                f"Received: {line[:60]!r}."
            ) from None
        yield f"line {number} of '{file}'", query, document, relevance


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield each line that is not blank, and its number.

    Raises:
        BadRow: a line is not UTF-8.
        DataError: the file cannot be read, or unpacked.
    """
    opener = gzip.open if file.suffix == ".gz" else open
    number = 0
    try:
        with opener(file, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield number, text.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise BadRow(
            f"Expected UTF-8 text in '{file}'. Received: {error}, in line {number}. Save the file as UTF-8."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"Expected a file that can be read. Received: '{file}': {error}. If it is damaged, fetch it again."
        ) from error
