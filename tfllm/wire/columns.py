"""TensorProto as the columns that results are made of: lists where there are a few values, arrays where there are many.

An answer for one text has a handful of numbers in it. To make arrays of them takes three times as long as to read them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy.typing as npt

from tfllm.wire import messages, tensors

Column = npt.NDArray[Any] | Sequence[Any]
"""One item a row: an array, or a list of values or of lists of values."""

_FIELDS: Final = {messages.DATA_TYPES["DT_FLOAT"]: "float_val", messages.DATA_TYPES["DT_STRING"]: "string_val"}
_FEW: Final = 64


def to_column(proto: Any) -> Column:
    """Read a TensorProto; the values are those of `to_array`.

    Returns:
        a list, or a list of lists, for texts and floats of one or two dimensions that are few and sent one by one; an
        array for all others.

    Raises:
        InvalidInput: dtype, shape and values do not fit together.

    Example:
        >>> import numpy as np
        >>> proto = messages.TensorProto()
        >>> tensors.fill(proto, np.array([[0.5, 0.25]], "float32"))
        >>> to_column(proto)
        [[0.5, 0.25]]
    """
    field = _FIELDS.get(proto.dtype)
    values: list[Any] = [] if field is None else getattr(proto, field)[: _FEW + 1]
    if not 0 < len(values) <= _FEW or proto.tensor_content:
        return tensors.to_array(proto)
    sizes = _sizes(proto.tensor_shape.SerializeToString())
    if sizes == (len(values),):
        return values
    if len(sizes) == 2 and sizes[0] > 0 and sizes[0] * sizes[1] == len(values):
        return [values[start : start + sizes[1]] for start in range(0, len(values), sizes[1])]
    return tensors.to_array(proto)


@lru_cache(1024)
def _sizes(shape: bytes) -> tuple[int, ...]:
    """Return the sizes of a serialized shape; none of an unknown one. Answers have the same shapes again and again."""
    read = messages.TensorShapeProto.FromString(shape)
    return () if read.unknown_rank else tuple(dim.size for dim in read.dim)
