"""Texts as rows of bytes, and the answers of several batches as one."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from tfllm.errors import DataError


def as_rows(texts: Iterable[Any]) -> list[tuple[bytes, ...]]:
    """Return texts as tuples of one, or of two for pairs, in UTF-8.

    Raises:
        DataError: something is not a text, or texts and pairs are mixed.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise DataError(f"Expected a list of texts. Received: {type(texts).__name__}. Put a single text in a list.")
    rows = []
    for position, item in enumerate(texts):
        parts = item if isinstance(item, tuple | list) else (item,)
        if len(parts) not in (1, 2) or not all(isinstance(part, str | bytes) for part in parts):
            raise DataError(
                f"Expected a text (str) or a pair of texts (tuple). Received: {item!r:.60} "
                f"({type(item).__name__}) at position {position}."
            )
        rows.append(tuple(p if isinstance(p, bytes) else p.encode("utf-8", "surrogatepass") for p in parts))
    if len({len(row) for row in rows}) > 1:
        raise DataError("Expected either single texts or pairs. Received: both. Call once for each kind.")
    return rows


def same_width(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Pad the second dimension with zeros or empty strings, where batches have answers of different width."""
    if arrays[0].ndim < 2 or len({array.shape[1] for array in arrays}) == 1:
        return arrays
    width = max(array.shape[1] for array in arrays)
    fill = b"" if arrays[0].dtype == object else 0
    rest = [(0, 0)] * (arrays[0].ndim - 2)
    return [np.pad(a, [(0, 0), (0, width - a.shape[1]), *rest], constant_values=fill) for a in arrays]
