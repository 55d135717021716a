"""Retrieval data in the layout of BEIR (Thakur et al., 2021): `load_beir`."""

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfllm.errors import BadRow, DataError


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
            and `qrels/<split>.tsv` (a header, then query id, document id, relevance).
        split: which judgements.

    Returns:
        The data; queries without judgements of the split are left out.

    Raises:
        DataError: a file is missing, or judgements name a query or document that is not there.
        BadRow: a line cannot be read; the message names file and line.

    Example:
        >>> folder = Path("beir"); (folder / "qrels").mkdir(parents=True)
        >>> _ = (folder / "corpus.jsonl").write_text('{"_id": "d1", "title": "Paris", "text": "A city."}')
        >>> _ = (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "Where is Paris?"}')
        >>> _ = (folder / "qrels" / "test.tsv").write_text("query-id\\tcorpus-id\\tscore\\nq1\\td1\\t1")
        >>> load_beir(folder).documents
        {'d1': 'Paris A city.'}
    """
    base = Path(folder)
    documents = dict(_texts(base, "corpus.jsonl"))
    queries = dict(_texts(base, "queries.jsonl"))
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


def _texts(base: Path, name: str) -> Iterator[tuple[str, str]]:
    file = next((file for file in (base / name, base / f"{name}.gz") if file.is_file()), None)
    if file is None:
        raise DataError(f"Expected '{name}' or '{name}.gz' in '{base}'. Received: no such file.")
    for number, line in _lines(file):
        try:
            row = json.loads(line)
            yield str(row["_id"]), f"{row.get('title') or ''} {row['text']}".strip()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadRow(
                f"Expected JSON with '_id' and 'text' in line {number} of '{file}'. "
                f"Received: {line[:60]!r} ({error!r})."
            ) from None


def _judgements(file: Path) -> Iterator[tuple[str, str, str, int]]:
    if not file.is_file():
        have = ", ".join(sorted(path.stem for path in file.parent.glob("*.tsv"))) or "none"
        raise DataError(f"Expected judgements at '{file}'. Available splits: {have}.")
    for number, line in _lines(file):
        if number == 1:
            continue
        cells = line.split("\t")
        try:
            query, document, relevance = cells[0], cells[1], int(cells[2])
        except (ValueError, IndexError):
            raise BadRow(
                f"Expected query id, document id and a whole number, with tabs between, in line {number} of '{file}'. "
                f"Received: {line[:60]!r}."
            ) from None
        yield f"line {number} of '{file}'", query, document, relevance


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n")
