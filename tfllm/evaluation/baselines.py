"""What a model has to beat: a linear model on the vectors of texts, by `train_baseline`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tfllm.data.schema import TextDataset
from tfllm.errors import DataError
from tfllm.results import Classification, MultiLabel, Regression, Result

Encode = Callable[[list[str]], np.ndarray]

_ROUNDS = 1_000
_THRESHOLD = 0.5
_PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True)
class Baseline:
    """A linear model on the vectors of texts; `predict_text` answers as that of a task does.

    Attributes:
        encode: texts -> float `(texts, width)`.
        kind: what it answers: "label", "labels" or "value".
        labels: the labels in the order of their scores; none for numbers.
        linear: the trained scikit-learn pipeline.
    """

    encode: Encode
    kind: str
    labels: tuple[str, ...]
    linear: Pipeline

    def predict_text(self, texts: Sequence[Any]) -> list[Result]:
        """Return one `Classification`, `MultiLabel` or `Regression` for each text, or pair of texts."""
        if not len(texts):
            return []
        features = _features(self.encode, texts)
        if self.kind == "value":
            return [Regression(float(value)) for value in self.linear.predict(features)]
        scores = [tuple(map(float, row)) for row in self.linear.predict_proba(features)]
        if self.kind == "label":
            best = [int(np.argmax(row)) for row in scores]
            return [Classification(self.labels[at], row[at], row) for at, row in zip(best, scores, strict=True)]
        return [
            MultiLabel(tuple(name for name, score in zip(self.labels, row, strict=True) if score >= _THRESHOLD), row)
            for row in scores
        ]


def train_baseline(encode: Encode, data: TextDataset) -> Baseline:
    """Train a linear model on the vectors of labelled texts: what a fine-tuned encoder has to beat.

    Args:
        encode: texts -> float `(texts, width)`: `StaticEmbeddings.encode_text`, `TextEmbedder.encode_text`, or any
            function. Of pairs both texts are encoded, and their distances and products stand beside the vectors
            (Conneau et al., 2017, "InferSent", section 2.2).
        data: rows with one label, with several, or with a number.

    Returns:
        The baseline; give its `predict_text` to `evaluate` as one of the `baselines`.

    Raises:
        DataError: the rows have labels of another kind.
        SingleClass: all rows have the same label.

    Example:
        >>> import pandas as pd
        >>> data = TextDataset(pd.DataFrame({"text": ["good", "goods", "bad"], "label": ["1", "1", "0"]}))
        >>> baseline = train_baseline(lambda texts: np.array([[float("good" in text)] for text in texts]), data)
        >>> baseline.predict_text(["a good film"])[0].label
        '1'
    """
    if data.label_kind not in ("label", "labels", "value"):
        raise DataError(f"Expected rows with one label, several, or a number. Received: {data!r}.")
    features = _features(encode, data.texts)
    if data.label_kind == "value":
        linear = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES)).fit(features, np.array(data.targets, float))
        return Baseline(encode, "value", (), linear)
    labels = data.labels.names
    if data.label_kind == "label":
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ROUNDS)).fit(features, data.label_values)
        return Baseline(encode, "label", tuple(map(str, linear.classes_)), linear)
    goals = np.array([[name in row for name in labels] for row in data.targets_of("labels")], int)
    each = OneVsRestClassifier(LogisticRegression(max_iter=_ROUNDS))
    return Baseline(encode, "labels", labels, make_pipeline(StandardScaler(), each).fit(features, goals))


def _features(encode: Encode, texts: Sequence[Any]) -> np.ndarray:
    if isinstance(texts[0], str):
        return np.asarray(encode(list(texts)))
    first, second = (np.asarray(encode([pair[side] for pair in texts])) for side in (0, 1))
    return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)
