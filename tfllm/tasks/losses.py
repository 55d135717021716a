"""Losses of classification: cross-entropy with smoothed labels and with a focus on what is hard."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tfllm.errors import ConfigError


@keras.saving.register_keras_serializable("tfllm")
class ClassificationLoss(keras.losses.Loss):
    """Cross-entropy over logits, of one label a row (softmax) or of several (sigmoid).

    Label smoothing gives a part of each row's probability to all labels alike (Szegedy et al., 2016, "Rethinking the
    Inception architecture", section 7). The focal loss multiplies the loss of each label by `(1 - p) ** gamma`, where p
    is the probability of what is right, so that easy rows count less (Lin et al., 2017, "Focal loss for dense object
    detection", section 3.2). With both at 0 it is plain cross-entropy.

    Args:
        multi_label: False for targets int `(batch,)`, the index of the label; True for 0 or 1, `(batch, classes)`.
        label_smoothing: the part that is spread, 0 to under 1.
        focal_gamma: 0 or more; Lin et al. use 2.
        name: the name of the loss.
        **kwargs: as in `keras.losses.Loss`.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> loss = ClassificationLoss(focal_gamma=2.0)
        >>> round(float(loss(np.array([0]), np.array([[0.0, 0.0]], "float32"))), 4)  # log(2) * 0.5 ** 2
        0.1733
    """

    def __init__(
        self,
        *,
        multi_label: bool = False,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        name: str = "classification_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if not 0.0 <= label_smoothing < 1.0:
            raise ConfigError(f"Expected label_smoothing of 0 to under 1. Received: {label_smoothing}.")
        if not 0.0 <= focal_gamma < np.inf:
            raise ConfigError(f"Expected focal_gamma of 0 or more. Received: {focal_gamma}.")
        self.multi_label = multi_label
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row, float32 `(batch,)`, from targets and logits `(batch, classes)`."""
        logits = ops.cast(y_pred, "float32")
        return self._sigmoid(y_true, logits) if self.multi_label else self._softmax(y_true, logits)

    def _softmax(self, y_true: Any, logits: Any) -> Any:
        classes = logits.shape[-1]
        # Keras may hand targets over as (batch, 1) or as floats.
        right = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), classes, dtype="float32")
        right = right * (1.0 - self.label_smoothing) + self.label_smoothing / classes
        log_p = ops.log_softmax(logits)
        return ops.sum(-right * self._focus(log_p) * log_p, axis=-1)

    def _sigmoid(self, y_true: Any, logits: Any) -> Any:
        right = ops.cast(y_true, "float32") * (1.0 - self.label_smoothing) + self.label_smoothing / 2.0
        log_yes, log_no = ops.log_sigmoid(logits), ops.log_sigmoid(-logits)
        loss = -right * self._focus(log_yes) * log_yes - (1.0 - right) * self._focus(log_no) * log_no
        return ops.mean(loss, axis=-1)

    def _focus(self, log_p: Any) -> Any:
        return 1.0 if self.focal_gamma == 0 else ops.power(1.0 - ops.exp(log_p), self.focal_gamma)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        own = {name: getattr(self, name) for name in ("multi_label", "label_smoothing", "focal_gamma")}
        return {**super().get_config(), **own}


def mean_divergence(first: Any, second: Any, sample_weight: Any = None, *, multi_label: bool = False) -> Any:
    """Return how far two predictions are apart: the mean of the Kullback-Leibler divergences both ways.

    Args:
        first: logits `(..., classes)`.
        second: logits of the same rows.
        sample_weight: how much each row counts, `(...)`, or None.
        multi_label: whether each class is a yes or no of its own.

    Returns:
        float32 scalar, the mean over the rows.

    Example:
        >>> float(mean_divergence(np.zeros((1, 2), "float32"), np.zeros((1, 2), "float32")))
        0.0
    """
    first, second = ops.cast(first, "float32"), ops.cast(second, "float32")
    if multi_label:
        each = ops.mean((ops.sigmoid(first) - ops.sigmoid(second)) * (first - second), axis=-1) / 2
    else:
        difference = ops.log_softmax(first) - ops.log_softmax(second)
        each = ops.sum((ops.softmax(first) - ops.softmax(second)) * difference, axis=-1) / 2
    return ops.mean(each if sample_weight is None else each * ops.cast(sample_weight, "float32"))
