"""Documents that can be searched: the `SearchIndex`."""

import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from tfllm.errors import ConfigError, DataError, choices_hint
from tfllm.repository import ModelVersion
from tfllm.search import storage
from tfllm.search.encoders import Encoder
from tfllm.search.hits import Hit, fuse_ranks
from tfllm.search.vectors import ApproximateVectors, ExactVectors, Floats, Vectors
from tfllm.search.words import WordIndex

MODES = ("meaning", "words", "both")

_KINDS: dict[str, Callable[[], Vectors]] = {"exact": ExactVectors, "approximate": ApproximateVectors}
_DEPTH = 100
"""Candidates of each ranking that are fused."""

Found = list[tuple[int, float]]


class SearchIndex:
    """Documents that are found by meaning, by words, or by both.

    Args:
        encode: what turns texts into vectors: a function of a list of texts, a `TextEmbedder`, or a `Client` of a
            served one. The last two put a query's own prefix before queries.
        kind: "exact" compares a query with every document; "approximate" (pip install 'tfllm[search]') looks at few of
            them, which pays from some ten thousand documents.

    Raises:
        ConfigError: an argument cannot be right, or a package of the extra `search` is not installed.

    Example:
        >>> def letters(texts):
        ...     return [[text.count(letter) for letter in "abc"] for text in texts]
        >>> index = SearchIndex(letters)
        >>> index.add(["aaa", "abab", "ccc"], ids=["first", "second", "third"])
        >>> [(hit.id, round(hit.score, 3)) for hit in index.search("ab", k=2)]
        [('second', 1.0), ('first', 0.707)]
    """

    def __init__(self, encode: Any, *, kind: str = "exact") -> None:
        if kind not in _KINDS:
            raise ConfigError(f"Expected a kind of index. Received: kind={kind!r}. {choices_hint(kind, _KINDS)}")
        self.kind = kind
        self._encoder = Encoder(encode)
        self._vectors = _KINDS[kind]()
        self._documents: dict[str, str] = {}
        self._listed: list[tuple[str, str]] = []
        self._words: WordIndex | None = None
        self._dim: int | None = None

    def add(self, documents: Sequence[str], ids: Sequence[str] | None = None) -> None:
        """Add documents. Either all of them are added or, on an error, none.

        Args:
            documents: the texts; equal ones are fine.
            ids: an id for each; by default their numbers in the index, as strings, without those that are taken.

        Raises:
            DataError: an id is there already, something is no text, or the encoder gives vectors of another size.
        """
        texts = _texts(documents)
        names = self._new_ids(len(texts)) if ids is None else _texts(ids)
        if len(names) != len(texts):
            raise DataError(f"Expected an id for each document. Received: {len(names)} ids, {len(texts)} documents.")
        counts = Counter(names)
        repeated = [name for name in counts if counts[name] > 1 or name in self._documents]
        if repeated:
            raise DataError(f"Expected ids that are new and differ. Received again: {repeated[:5]}.")
        if not texts:
            return
        self._vectors.add(self._encoded(texts, "document"))
        self._documents.update(zip(names, texts, strict=True))
        self._listed = list(self._documents.items())
        self._words = None

    def _new_ids(self, count: int) -> list[str]:
        free = (name for name in map(str, itertools.count(len(self))) if name not in self._documents)
        return list(itertools.islice(free, count))

    @overload
    def search(  # type: ignore[overload-overlap]
        self, queries: str, k: int = 10, *, mode: str = "meaning", rerank: Any = None, candidates: int = 50
    ) -> list[Hit]: ...

    @overload
    def search(
        self, queries: Sequence[str], k: int = 10, *, mode: str = "meaning", rerank: Any = None, candidates: int = 50
    ) -> list[list[Hit]]: ...

    def search(
        self,
        queries: str | Sequence[str],
        k: int = 10,
        *,
        mode: str = "meaning",
        rerank: Any = None,
        candidates: int = 50,
    ) -> list[Hit] | list[list[Hit]]:
        """Find the documents that fit queries best.

        Args:
            queries: one text, or several.
            k: how many documents a query gets at most.
            mode: "meaning" by cosine similarity of the vectors; "words" by BM25; "both" by the ranks of the two
                (reciprocal rank fusion; Cormack et al., 2009). "words" gives only documents with a word of the query.
            rerank: a second look at the best documents: a `Reranker`, anything else with `rank(query, documents)` that
                gives `Ranking`s, or a function `(query, documents)` that gives a score for each.
            candidates: how many documents are reranked, at least `k`.

        Returns:
            The hits, the best first; for several queries a list of them for each. None from an empty index.

        Raises:
            ConfigError: there is no such mode, or `k` is under 1.
            DataError: a query is no text, the encoder gives vectors of another size, or the reranker scores that are
                no numbers or documents that it was not asked about.
        """
        if mode not in MODES:
            raise ConfigError(f"Expected a mode. Received: mode={mode!r}. {choices_hint(mode, MODES)}")
        if min(k, candidates) < 1:
            raise ConfigError(f"Expected k and candidates of at least 1. Received: k={k}, candidates={candidates}.")
        asked = _texts([queries] if isinstance(queries, str) else queries)
        count = k if rerank is None else max(k, candidates)
        found = self._found(asked, min(count, len(self)), mode) if asked and len(self) else [[] for _ in asked]
        hits = [[Hit(*self._listed[row], score) for row, score in rows] for rows in found]
        if rerank is not None:
            hits = [_reranked(rerank, query, row) for query, row in zip(asked, hits, strict=True)]
        return hits[0][:k] if isinstance(queries, str) else [row[:k] for row in hits]

    def _found(self, queries: list[str], k: int, mode: str) -> list[Found]:
        if mode == "meaning":
            return self._by_meaning(queries, k)
        if mode == "words":
            return self._by_words(queries, k)
        depth = min(max(k, _DEPTH), len(self))
        rankings = zip(self._by_meaning(queries, depth), self._by_words(queries, depth), strict=True)
        return [fuse_ranks([[row for row, _ in found] for found in both])[:k] for both in rankings]

    def _by_meaning(self, queries: list[str], k: int) -> list[Found]:
        scores, rows = self._vectors.search(self._encoded(queries, "query"), k)
        pairs = (zip(found.tolist(), values.tolist(), strict=True) for found, values in zip(rows, scores, strict=True))
        return [[(row, score) for row, score in found if row >= 0] for found in pairs]

    def _by_words(self, queries: list[str], k: int) -> list[Found]:
        if self._words is None:
            self._words = WordIndex([text for _, text in self._listed])
        return self._words.search(queries, k)

    def _encoded(self, texts: list[str], kind: str) -> Floats:
        vectors = self._encoder.encode(texts, kind)
        if self._dim is not None and vectors.shape[1] != self._dim:
            raise DataError(
                f"Expected vectors of {self._dim} numbers, like those in the index. Received: {vectors.shape[1]}. "
                "Use the encoder that the index was made with."
            )
        self._dim = vectors.shape[1]
        return vectors

    def save(self, path: str | os.PathLike[str]) -> ModelVersion:
        """Write the index as the next version under a folder: `path/1`, `path/2`, ... It appears whole or not at all.

        Raises:
            DataError: the index is empty.
            RepositoryError: the folder cannot be written.
        """
        if not self._listed:
            raise DataError("Expected documents in the index. Received: none. Add some before saving.")
        return storage.write(path, self.kind, self._listed, self._vectors, self._encoder)

    @classmethod
    def load(cls, path: str | os.PathLike[str], encode: Any, *, version: int | None = None) -> "SearchIndex":
        """Load an index that `save` wrote.

        Args:
            path: the folder given to `save`.
            encode: the encoder that the index was made with, in any form: it must give the same vectors.
            version: a version number; the newest without one.

        Raises:
            VersionNotFound: there is no such version.
            ConfigError: the encoder is another one.
            DataError: the files are damaged, or of a newer format.
        """
        folder = storage.folder_of(path, version)
        header = storage.read_header(folder, _KINDS)
        index = cls(encode, kind=header.kind)
        storage.check_encoder(folder, index._encoder)
        index._documents = storage.read_documents(folder, header)
        index._listed = list(index._documents.items())
        index._dim = header.dim
        storage.read_vectors(folder, header, index._vectors)
        return index

    def __len__(self) -> int:
        return len(self._listed)

    def __contains__(self, name: object) -> bool:
        return name in self._documents

    def __repr__(self) -> str:
        return f"SearchIndex({len(self)} documents, kind={self.kind!r})"


def _texts(items: Sequence[str]) -> list[str]:
    if isinstance(items, str | bytes):
        raise DataError(f"Expected a list of texts. Received: {items!r:.60}. Put a single text in a list.")
    texts = list(items)
    for position, item in enumerate(texts):
        if not isinstance(item, str):
            raise DataError(f"Expected texts (str). Received: {item!r:.60} ({type(item).__name__}) at item {position}.")
    return texts


def _reranked(rerank: Any, query: str, hits: list[Hit]) -> list[Hit]:
    """Return the hits in the order of a reranker, with its scores."""
    texts = [hit.text for hit in hits]
    if not hits:
        return hits
    if hasattr(rerank, "rank"):
        order = [(ranking.index, ranking.score) for ranking in rerank.rank(query, texts)]
    else:
        scores = np.asarray(rerank(query, texts), float)
        if scores.shape != (len(texts),):
            raise DataError(f"Expected a score for each of {len(texts)} documents. Received: shape {scores.shape}.")
        order = sorted(enumerate(scores.tolist()), key=lambda pair: -pair[1])
    _require_order(order, len(hits))
    return [Hit(hits[row].id, hits[row].text, float(score)) for row, score in order]


def _require_order(order: Sequence[tuple[int, float]], count: int) -> None:
    """Raise `DataError` unless a reranker gave numbers, each for another one of its documents."""
    rows = [row for row, _ in order]
    if len(set(rows)) != len(rows) or not set(rows) <= set(range(count)):
        raise DataError(
            f"Expected rankings whose indices are from 0 to {count - 1}, each once. Received: {rows[:10]}. "
            "An index is the document's place in the list that rank(query, documents) gets."
        )
    for row, score in order:
        if math.isnan(score):
            raise DataError(f"Expected scores that are numbers. Received: {score} of the reranker for document {row}.")
