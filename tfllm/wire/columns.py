"""TensorProto as the columns that results are made of: lists where there are a few values, arrays where there are many.

An answer for one text has a handful of numbers in it. To make arrays of them takes three times as long as to read them.
"""

from collections.abc import Sequence
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
    field, shape = _FIELDS.get(proto.dtype), proto.tensor_shape
    if field is None or shape.unknown_rank:
        return tensors.to_array(proto)
    values = getattr(proto, field)
    sizes = [dim.size for dim in shape.dim]
    if not 0 < len(values) <= _FEW or proto.tensor_content:
        return tensors.to_array(proto)
    if sizes == [len(values)]:
        column: list[Any] = values[:]
        return column
    if len(sizes) == 2 and sizes[0] > 0 and sizes[0] * sizes[1] == len(values):
        return [values[start : start + sizes[1]] for start in range(0, len(values), sizes[1])]
    return tensors.to_array(proto)
