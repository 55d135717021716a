"""Find the nearest vectors: exactly, or approximately through faiss."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tfllm.errors import DataError
from tfllm.extras import import_extra

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_BLOCK_BYTES = 64 * 2**20


class Vectors(Protocol):
    """Vectors that can be searched, in the order in which they were added."""

    def add(self, vectors: Floats) -> None:
        """Add vectors, float32 `(rows, dim)`, each of length 1."""

    def search(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        """Return the `k` best products and their rows for each query, both `(queries, k)`, the best first.

        `k` is at most the number of vectors; a row of -1 is none.
        """

    def write(self, folder: Path) -> None:
        """Write the vectors to files of a folder."""

    def read(self, folder: Path) -> None:
        """Read what `write` wrote."""

    def __len__(self) -> int: ...


class ExactVectors:
    """All products, in blocks that fit the memory.

    Example:
        >>> index = ExactVectors()
        >>> index.add(np.eye(3, dtype="float32"))
        >>> index.search(np.array([[0.8, 0.6, 0.0]], "float32"), 2)[1].tolist()
        [[0, 1]]
    """

    _file = "vectors.npy"

    def __init__(self) -> None:
        self._parts: list[Floats] = []

    def add(self, vectors: Floats) -> None:
        """Add vectors, float32 `(rows, dim)`."""
        self._parts.append(np.ascontiguousarray(vectors, np.float32))

    def _matrix(self) -> Floats:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

    def search(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        """Return the `k` best products and their rows for each query; of equal ones, the earlier row first."""
        matrix = self._matrix()
        block = max(1, _BLOCK_BYTES // (4 * len(matrix)))
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries), block):
            chosen = slice(start, start + block)
            scores[chosen], rows[chosen] = best_of(queries[chosen] @ matrix.T, k)
        return scores, rows

    def write(self, folder: Path) -> None:
        """Write the vectors to files of a folder."""
        np.save(folder / self._file, self._matrix(), allow_pickle=False)

    def read(self, folder: Path) -> None:
        """Read what `write` wrote."""
        self._parts = [np.load(folder / self._file, allow_pickle=False)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))


class ApproximateVectors:
    """A graph of near neighbours (Malkov and Yashunin, 2018, "HNSW"), by faiss.

    Args:
        neighbours: links of a vector in the graph.
        effort: candidates kept while the graph is built, and while it is searched (at least `k`): more is nearer to
            exact, and slower.

    Raises:
        ConfigError: faiss is not installed.
    """

    _file = "vectors.faiss"

    def __init__(self, neighbours: int = 32, effort: int = 128) -> None:
        self._faiss = import_extra("faiss", "search")
        self._neighbours, self._effort = neighbours, effort
        self._index: Any = None

    def add(self, vectors: Floats) -> None:
        """Add vectors, float32 `(rows, dim)`."""
        if self._index is None:
            metric = self._faiss.METRIC_INNER_PRODUCT
            self._index = self._faiss.IndexHNSWFlat(vectors.shape[1], self._neighbours, metric)
            self._index.hnsw.efConstruction = self._effort
        self._index.add(np.ascontiguousarray(vectors, np.float32))

    def search(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        """Return about the `k` best products and their rows for each query."""
        settings = self._faiss.SearchParametersHNSW(efSearch=max(self._effort, k))
        scores, rows = self._index.search(np.ascontiguousarray(queries, np.float32), k, params=settings)
        return scores, rows

    def write(self, folder: Path) -> None:
        """Write the vectors to files of a folder."""
        self._faiss.write_index(self._index, str(folder / self._file))

    def read(self, folder: Path) -> None:
        """Read what `write` wrote."""
        self._index = self._faiss.read_index(str(folder / self._file))

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)


def best_of(scores: Floats, k: int) -> tuple[Floats, Rows]:
    """Return the `k` highest of each row of scores and their columns, both `(rows, k)`, the best first."""
    k = min(k, scores.shape[1])
    if k < scores.shape[1]:
        columns = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    else:
        columns = np.broadcast_to(np.arange(k), scores.shape)
    columns = np.sort(columns, axis=1)  # so that equal scores stay in the order of their columns
    found = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(columns, order, axis=1).astype(np.int64)


def unit_vectors(vectors: npt.ArrayLike) -> Floats:
    """Return vectors, float32 `(rows, dim)`, with length 1; a vector of zeros stays.

    Raises:
        DataError: it is no matrix, or holds numbers that are not finite.
    """
    matrix = np.asarray(vectors, np.float32)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise DataError(
            "Expected one vector of finite numbers for each text. Received: "
            + (f"an array of shape {matrix.shape}." if matrix.ndim != 2 else "numbers that are not finite.")
        )
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(lengths == 0, 1, lengths), np.float32)


def vectors_of(encode: Callable[[list[str]], npt.ArrayLike], texts: Sequence[str]) -> Floats:
    """Return one vector of length 1 for each text, float32 `(texts, dim)`.

    Raises:
        DataError: `encode` did not give one vector of finite numbers for each text.

    Example:
        >>> vectors_of(lambda texts: [[len(text), 0] for text in texts], ["a", "ab"]).tolist()
        [[1.0, 0.0], [1.0, 0.0]]
    """
    vectors = unit_vectors(encode(list(texts)))
    if len(vectors) != len(texts):
        raise DataError(f"Expected one vector a text. Received: {len(vectors)} vectors for {len(texts)} texts.")
    return vectors
