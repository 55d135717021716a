"""Rows of named features to `tf.Example` messages, and what Classify and Regress answer, without TensorFlow."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from tfllm.errors import InvalidInput

Feature = str | bytes | float | Sequence[Any] | np.ndarray[Any, Any]
"""One value, or any number of values of one kind: texts, whole numbers (booleans too), or floats."""

Features = Mapping[str, Feature]
"""A row: feature name -> value or values. Rows may lack features, and have different numbers of values."""

Classes = list[tuple[str, float]]
"""The classes of one row, each with its score, in the model's order."""


def fill_input(proto: Any, rows: Iterable[Features], context: Features | None = None) -> int:
    """Write rows into an empty Input message.

    Args:
        proto: the message to write to.
        rows: one mapping a row.
        context: features that belong to every row; each row is then read together with it.

    Returns:
        the number of rows.

    Raises:
        InvalidInput: a row is no mapping, or a feature's values are of no kind or of several.
    """
    if context is None:
        target = proto.example_list
    else:
        target = proto.example_list_with_context
        _fill_example(target.context, context, "the context")
    target.SetInParent()
    for position, row in enumerate(rows):
        _fill_example(target.examples.add(), row, f"row {position}")
    return len(target.examples)


def classes_of(result: Any) -> list[Classes]:
    """Read a ClassificationResult: the classes of each row."""
    return [[(entry.label, entry.score) for entry in row.classes] for row in result.classifications]


def values_of(result: Any) -> list[float]:
    """Read a RegressionResult: the value of each row."""
    return [row.value for row in result.regressions]


def _fill_example(example: Any, row: Features, where: str) -> None:
    if not isinstance(row, Mapping):
        raise InvalidInput(f"Expected a mapping of feature names to values. Received: {type(row).__name__} at {where}.")
    example.SetInParent()
    features = example.features
    features.SetInParent()
    for name, value in row.items():
        try:
            _fill_feature(features.feature[name], value)
        except (TypeError, ValueError, UnicodeEncodeError) as error:
            raise InvalidInput(
                "Expected texts, whole numbers of 64 bits or floats, all of one kind. "
                f"Received: {value!r:.80} as feature '{name}' of {where} ({error})."
            ) from error


def _fill_feature(feature: Any, value: Feature) -> None:
    if isinstance(value, str | bytes):
        feature.bytes_list.value.append(_bytes(value))
        return
    if _is_text(value):
        texts = value.ravel().tolist() if isinstance(value, np.ndarray) else value
        feature.bytes_list.value.extend(map(_bytes, cast(Iterable[object], texts)))
        return
    array = np.asarray(value).ravel()
    if not array.size:
        return  # a feature without values is a feature that is not there
    kind = array.dtype.kind
    if kind in "iub":
        feature.int64_list.value.extend(array.astype(object).tolist() if kind == "u" else array.astype("i8").tolist())
    elif kind == "f" or array.dtype.name == "bfloat16":
        feature.float_list.value.extend(array.astype("f4").tolist())
    else:
        raise TypeError(f"dtype {array.dtype}")


def _is_text(value: object) -> bool:
    """Say whether there is text among the values; numpy would cut its trailing zero bytes."""
    if isinstance(value, np.ndarray):
        return value.size > 0 and value.dtype.kind in "SUO"
    return isinstance(value, Sequence) and any(isinstance(item, str | bytes) for item in value)


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"{type(value).__name__} among texts")
