"""Accuracy over tokens, the same however the rows are padded and shared out."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfllm")
class TokenAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """The share of right tokens, each by its weight.

    Keras takes the mean over each row's places, padding included, before it adds the rows up: a token of a batch that
    is padded further counts less.

    Example:
        >>> accuracy, right, wrong = TokenAccuracy(), [1.0, 2.0], [2.0, 1.0]
        >>> accuracy.update_state([[1]], [[right]], [[1.0]])
        >>> accuracy.update_state([[1, 0, 0, 0]], [[wrong] * 4], [[1.0, 0.0, 0.0, 0.0]])
        >>> float(accuracy.result())
        0.5
    """

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch.

        Args:
            y_true: the right classes, int `(batch, sequence)`, or `(batch,)`.
            y_pred: logits or probabilities, `(batch, sequence, classes)`, or `(batch, classes)`.
            sample_weight: how much each counts, as `y_true`; all the same by default.
        """
        logits = tf.convert_to_tensor(y_pred)
        weight = None if sample_weight is None else tf.reshape(sample_weight, [-1])
        super().update_state(tf.reshape(y_true, [-1]), tf.reshape(logits, [-1, logits.shape[-1]]), weight)
