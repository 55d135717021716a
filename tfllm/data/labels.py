"""The label map: which labels there are, and which number each has."""

import re
from collections.abc import Iterable, Iterator

import numpy as np

from tfllm.errors import DataError, UnknownLabel, choices_hint

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,100}")


class LabelMap:
    """Labels in a stable order, and the way between a label and its index.

    Labels are strings everywhere a user sees them; labels that all read as whole numbers are ordered by value, others
    by code point. So the same labels give the same numbers, whatever the order of the rows.

    Args:
        names: the labels in the order of their indices, without repetition. `LabelMap.from_values` makes the order.
        least: how many labels there must be.

    Raises:
        DataError: fewer than `least` labels, an empty one, or one that repeats.

    Example:
        >>> labels = LabelMap.from_values([3, 1, 2, 1])
        >>> labels.names
        ('1', '2', '3')
        >>> labels.encode([1, "3"]).tolist()
        [0, 2]
    """

    def __init__(self, names: Iterable[str | int], *, least: int = 2) -> None:
        self.names: tuple[str, ...] = tuple(label_text(name) for name in names)
        if len(set(self.names)) != len(self.names) or "" in self.names:
            raise DataError(f"Expected labels that are not empty and do not repeat. Received: {list(self.names)}.")
        if len(self.names) < least:
            raise DataError(
                f"Expected at least {'two labels' if least > 1 else 'one label'}. Received: {list(self.names)}."
            )
        self._index = {name: index for index, name in enumerate(self.names)}

    @classmethod
    def from_values(cls, values: Iterable[object]) -> "LabelMap":
        """Return the map of all labels that occur in `values`."""
        return cls(sorted_labels(label_text(value) for value in values))

    def encode(self, values: Iterable[object]) -> np.ndarray:
        """Return the indices of labels.

        Args:
            values: labels, as strings or whole numbers.

        Returns:
            int32 `(rows,)`.

        Raises:
            UnknownLabel: a label is not in the map.
        """
        texts = [label_text(value) for value in values]
        try:
            return np.array([self._index[text] for text in texts], dtype=np.int32)
        except KeyError:
            unknown = sorted({text for text in texts if text not in self._index})
            raise UnknownLabel(
                f"Expected labels of {len(self)} known ones. Received unknown: {unknown[:5]}. "
                + choices_hint(unknown[0], self.names)
            ) from None

    def decode(self, indices: Iterable[int]) -> list[str]:
        """Return the labels of indices."""
        return [self.names[index] for index in indices]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, value: object) -> bool:
        return label_text(value) in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelMap) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"LabelMap({list(self.names)})"


def sorted_labels(names: Iterable[str]) -> list[str]:
    """Return the labels without repetition, by value if all are whole numbers, by code point if not."""
    found = set(names)
    if all(_WHOLE_NUMBER.fullmatch(name) for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)


def label_text(value: object) -> str:
    """Return a label as the string that users see: 5, 5.0 and "5" are all "5"; surrounding space does not count."""
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip()
