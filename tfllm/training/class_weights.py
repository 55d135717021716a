"""How much the rows of each label count in training: `row_weights`."""

from collections.abc import Mapping

import numpy as np

from tfllm.data.labels import LabelMap
from tfllm.errors import ConfigError, UnknownLabel
from tfllm.tasks.base import Task


def row_weights(model: Task, targets: np.ndarray, class_weight: str | Mapping[str, float] | None) -> np.ndarray | None:
    """Return how much each row counts, float32 `(rows,)`, or None where all count the same.

    Args:
        model: a task of one label a row.
        targets: the index of each row's label, int `(rows,)`.
        class_weight: "balanced" for weights with mean 1 that let every label count the same, as scikit-learn has them
            (King and Zeng, 2001, "Logistic regression in rare events data"); or label -> weight, 1 for those left out.

    Raises:
        ConfigError: the rows are not of one label each.
        UnknownLabel: a weight is for no label of the model.
    """
    if class_weight is None:
        return None
    labels = getattr(model, "labels", None)
    if not isinstance(labels, LabelMap) or not isinstance(targets, np.ndarray) or targets.ndim != 1:
        raise ConfigError(
            f"Expected class_weight with a task of one label a row. Received: {type(model).__name__}, and targets of "
            "another kind."
        )
    if isinstance(class_weight, str):
        counts = np.bincount(targets)
        return (len(targets) / (np.count_nonzero(counts) * counts[targets])).astype(np.float32)
    by_label = np.ones(len(labels), np.float32)
    try:
        by_label[labels.encode(class_weight)] = list(class_weight.values())
    except UnknownLabel as error:
        raise UnknownLabel(f"In class_weight: {error}") from error
    return by_label[targets]
