"""Arrays of several requests as those of one batch, and back. Pure functions on numpy arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfllm.errors import FailedPrecondition, InvalidInput

Array = npt.NDArray[Any]

_BYTES_PER_TOKEN = 4.0  # of English text in a WordPiece vocabulary, rounded down: more tokens than there are
_SPECIAL_TOKENS = 2


def batch_rows(arrays: Sequence[Array]) -> int:
    """Return how many rows the inputs of a request have.

    Raises:
        InvalidInput: they cannot be part of a batch.
    """
    if any(array.ndim == 0 for array in arrays):
        raise InvalidInput("Batching Run() input tensors must have at least one dimension")
    rows = {len(array) for array in arrays}
    if len(rows) > 1:
        raise InvalidInput("Batching Run() input tensors must have equal 0th-dimension size")
    return rows.pop() if rows else 0


def inner_shapes(arrays: Sequence[Array], *, padded: bool) -> tuple[object, ...]:
    """Return what the inputs of requests that share a batch have in common: dtypes and inner shapes.

    Args:
        arrays: the inputs of a request.
        padded: whether only the number of dimensions counts.
    """
    return tuple((array.dtype.str, array.ndim if padded else array.shape[1:]) for array in arrays)


def row_tokens(arrays: Sequence[Array], most: int | None) -> int:
    """Estimate the tokens of the longest row of a request.

    Texts are counted by their bytes, which costs next to nothing; of pairs of texts, both count. Inputs that are ids
    already count by their length.

    Args:
        arrays: the inputs.
        most: the length that the model cuts texts at, if known.
    """
    texts = [array for array in arrays if array.dtype == object]
    if texts:
        longest = sum(max(map(_size, array.flat), default=0) for array in texts)
        tokens = int(longest / _BYTES_PER_TOKEN) + _SPECIAL_TOKENS
    else:
        tokens = max((array.shape[1] for array in arrays if array.ndim > 1), default=1)
    return max(1, tokens if most is None else min(tokens, most))


def merge(requests: Sequence[Sequence[Array]], rows: int, *, padded: bool) -> list[Array]:
    """Return the inputs of a batch.

    Args:
        requests: the inputs of each request, in one order.
        rows: how many rows the batch shall have; missing ones are copies of the last request's first row.
        padded: whether inner dimensions are padded to the longest, each array with its first value.
    """
    merged = []
    for arrays in zip(*requests, strict=True):
        parts = list(arrays)
        if padded:
            shape = _widest(parts)
            parts = [_pad(part, shape, part.flat[0]) if part.size else part for part in parts]
        missing = rows - sum(map(len, parts))
        if missing:
            parts.append(np.repeat(parts[-1][:1], missing, axis=0))
        merged.append(np.concatenate(parts) if len(parts) > 1 else parts[0])
    return merged


def split(outputs: Sequence[Array], sizes: Sequence[int], rows: int) -> list[list[Array]]:
    """Return the outputs of each request of a batch.

    Args:
        outputs: those of the batch.
        sizes: how many rows each request has.
        rows: how many rows the batch had.

    Raises:
        FailedPrecondition: an output does not have a row for each row of the inputs.
    """
    for array in outputs:
        if array.ndim == 0:
            raise FailedPrecondition("Batched output tensor has 0 dimensions")
        if len(array) != rows:
            raise FailedPrecondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )
    ends = np.cumsum(sizes).tolist()
    return [[array[end - size : end] for array in outputs] for size, end in zip(sizes, ends, strict=True)]


def join(parts: Sequence[Sequence[Array]]) -> list[Array]:
    """Return the outputs of a request that ran in parts.

    Where a part found more than another (entities of a text, say), the others are padded with zeros or empty texts, as
    the graph itself pads the rows of a batch.

    Args:
        parts: the outputs of each part, in one order.
    """
    joined = []
    for arrays in zip(*parts, strict=True):
        shape = _widest(arrays)
        joined.append(np.concatenate([_pad(array, shape, b"" if array.dtype == object else 0) for array in arrays]))
    return joined


def _widest(arrays: Sequence[Array]) -> list[int]:
    return [max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True)]


def _pad(array: Array, shape: Sequence[int], value: object) -> Array:
    if list(array.shape[1:]) == list(shape):
        return array
    padded = np.full((len(array), *shape), value, array.dtype)
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded


def _size(text: object) -> int:
    return len(text) if isinstance(text, bytes | str) else 0
