"""Labelled text in memory: the `TextDataset`."""

import hashlib
import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from tfllm.data.labels import LabelMap, label_text, sorted_labels
from tfllm.data.targets import LABEL_KINDS, require_label_kind
from tfllm.errors import DataError, EmptyDataset, MissingColumn, SingleClass, choices_hint


class TextDataset:
    """Rows of text with labels.

    Usually made by `tfllm.load_dataset`, which checks the rows.

    Args:
        frame: a table with the named columns; text columns hold strings. Further columns are kept.
        text: the column of the text.
        text_pair: the column of the second text of a pair, or None.
        label: the column of the label, or None for texts without labels.
        label_kind: what that column holds, one of `tfllm.data.targets.LABEL_KINDS`.
        source: where the rows come from, used in messages.

    Raises:
        MissingColumn: a named column is not there.
        EmptyDataset: there are no rows.
        ConfigError: there is no such kind of label.

    Example:
        >>> frame = pd.DataFrame({"text": ["good", "bad", "fine", "poor"], "label": ["1", "0", "1", "0"]})
        >>> data = TextDataset(frame, text="text", label="label")
        >>> len(data), data.labels.names, data.class_counts
        (4, ('0', '1'), {'0': 2, '1': 2})
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        text: str = "text",
        text_pair: str | None = None,
        label: str | None = "label",
        label_kind: str = "label",
        source: str = "the table",
    ) -> None:
        require_label_kind(label_kind)
        for column in filter(None, (text, text_pair, label)):
            require_column(frame, column, source)
        if frame.empty:
            raise EmptyDataset(f"Expected at least one row. Received: {source} with none.")
        self.frame = frame.reset_index(drop=True)
        self.text, self.text_pair, self.label, self.source = text, text_pair, label, source
        self.label_kind = label_kind

    @property
    def texts(self) -> list[str] | list[tuple[str, str]]:
        """The texts, or pairs of texts, as `predict_text` and `Client.predict` take them."""
        first = self.frame[self.text].tolist()
        return first if self.text_pair is None else list(zip(first, self.frame[self.text_pair].tolist(), strict=True))

    @property
    def targets(self) -> list[Any]:
        """What each row's label column holds; `tfllm.data.targets.LABEL_KINDS` says what that is.

        Raises:
            DataError: the rows have no labels.
        """
        if self.label is None:
            raise DataError(f"Expected labelled rows. Received: {self.source}, loaded without label=.")
        return self.frame[self.label].tolist()

    def targets_of(self, kind: str) -> list[Any]:
        """Return the targets, which must be of one kind.

        Raises:
            DataError: the rows have no labels, or labels of another kind.
        """
        targets = self.targets
        if self.label_kind != kind:
            raise DataError(
                f"Expected rows with {LABEL_KINDS[kind]}. Received: {self.source}, loaded with "
                f"{LABEL_KINDS[self.label_kind]}. Load it with label_kind='{kind}'."
            )
        return targets

    @property
    def label_values(self) -> list[str]:
        """The label of each row, as a string.

        Raises:
            DataError: the rows have no labels, or not one each.
        """
        return [label_text(value) for value in self.targets_of("label")]

    @property
    def labels(self) -> LabelMap:
        """All labels that occur, in their stable order.

        Raises:
            SingleClass: all rows have one label.
        """
        values = set(self.label_values)
        if len(values) < 2:
            raise SingleClass(
                f"Expected at least two different labels in column '{self.label}' of {self.source}. "
                f"Received: only {sorted(values)[0]!r}. Check that label= names the right column."
            )
        return LabelMap.from_values(values)

    @property
    def class_counts(self) -> dict[str, int]:
        """How many rows each label has, in the order of `labels`."""
        counts = Counter(self.label_values)
        return {name: counts[name] for name in sorted_labels(counts)}

    @property
    def fingerprint(self) -> str:
        """A SHA-256 over texts and labels: equal exactly when the rows are, whatever the columns are called.

        Labels that are not plain words count as JSON.
        """
        digest = hashlib.sha256()
        for role, column in (("text", self.text), ("text_pair", self.text_pair), ("label", self.label)):
            if column is None:
                continue
            values = self._label_texts() if role == "label" else self.frame[column]
            digest.update(f"{role} {len(self)} ".encode())
            for value in values:
                data = str(value).encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(8, "little"))
                digest.update(data)
        return digest.hexdigest()

    def _label_texts(self) -> list[str]:
        if self.label_kind == "label":
            return self.label_values
        return [json.dumps(target, sort_keys=True, ensure_ascii=False) for target in self.targets]

    @property
    def _has_classes(self) -> bool:
        return self.label is not None and self.label_kind == "label"

    def split(self, fraction: float = 0.2, *, seed: int = 0) -> tuple["TextDataset", "TextDataset"]:
        """Split into two parts with the same balance of labels (stratified), the same way for the same seed.

        Rows whose label is not one word are split at random.

        Args:
            fraction: the part of the rows that goes to the second data set, over 0 and under 1.
            seed: which rows go.

        Returns:
            The larger part and the `fraction` part, each in the original order. A label with one row stays in the
            first part; one with two or more has at least one row on each side.

        Raises:
            DataError: `fraction` is out of range, or a part would be empty.
        """
        if not 0.0 < fraction < 1.0:
            raise DataError(f"Expected a fraction over 0 and under 1. Received: fraction={fraction}.")
        generator = np.random.default_rng(seed)
        groups: dict[str, list[int]] = {}
        for row, value in enumerate(self.label_values if self._has_classes else [""] * len(self)):
            groups.setdefault(value, []).append(row)
        held_out = np.zeros(len(self), dtype=bool)
        for _, rows in sorted(groups.items()):
            count = min(max(round(len(rows) * fraction), 1), len(rows) - 1)
            held_out[generator.permutation(rows)[:count]] = True
        if not held_out.any():
            raise DataError(f"Expected a label with at least two rows, so that it can be split. Received: {self!r}.")
        return self._where(~held_out), self._where(held_out)

    def split_by(self, column: str) -> dict[str, "TextDataset"]:
        """Split by the values of a column, for data that comes with its own split.

        Returns:
            The value of the column -> its rows, for example `{"train": ..., "dev": ...}`.

        Raises:
            MissingColumn: there is no such column.
        """
        require_column(self.frame, column, self.source)
        values = self.frame[column].astype(str)
        return {value: self._where((values == value).to_numpy()) for value in values.unique()}

    def describe(self) -> pd.DataFrame:
        """Return a table with, for each label and for all rows: rows, share, and the words a text has."""
        words = self.frame[self.text].str.split().str.len()
        groups = []
        if self._has_classes:
            labels = pd.Series(self.label_values)
            groups = [(name, words[labels == name]) for name in self.class_counts]
        groups.append(("all", words))
        rows = [
            {
                "rows": len(group),
                "share": round(len(group) / len(self), 4),
                "words_median": float(group.median()),
                "words_max": int(group.max()),
            }
            for _, group in groups
        ]
        return pd.DataFrame(rows, index=[name for name, _ in groups])

    def _where(self, mask: np.ndarray) -> "TextDataset":
        return TextDataset(
            self.frame[mask],
            text=self.text,
            text_pair=self.text_pair,
            label=self.label,
            label_kind=self.label_kind,
            source=self.source,
        )

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        pair = f", text_pair={self.text_pair!r}" if self.text_pair else ""
        return f"TextDataset({len(self)} rows of {self.source}, text={self.text!r}{pair}, label={self.label!r})"


def require_column(frame: pd.DataFrame, column: str, source: str) -> None:
    """Raise `MissingColumn`, naming the close matches, unless the table has the column, and once."""
    times = list(frame.columns).count(column)
    if times > 1:
        raise MissingColumn(f"Expected one column '{column}' in {source}. Received: {times} of this name.")
    if times == 0:
        raise MissingColumn(
            f"Expected a column '{column}' in {source}. {choices_hint(column, map(str, frame.columns))}"
        )
