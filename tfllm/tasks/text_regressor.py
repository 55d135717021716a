"""A number for a text or a pair of texts: the `TextRegressor`."""

from collections.abc import Sequence
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError
from tfllm.tasks.base import Task
from tfllm.tasks.heads import Head, initializer, pool_encoder
from tfllm.tasks.preprocessing import TextPreprocessor
from tfllm.tasks.signature import Forward, Outputs, Signature, of_examples


@keras.saving.register_keras_serializable("tfllm")
class TextRegressor(Task):
    """Gives a number to a text or to a pair of texts, such as how alike two sentences are.

    It learns by squared error, as BERT does on STS-B (Devlin et al., 2019, section 4.1), from numbers scaled to 0..1 by
    the range of the training rows, and answers in their own units.

    Args:
        backbone: a KerasHub backbone of the BERT family.
        preprocessor: how strings become tokens.
        value_range: the smallest and the largest number of the training rows. Answers may lie a little outside.
        pooling: "cls" for the pooled first token, or "mean" for the mean of all tokens.
        dropout: the dropout rate before the last layer.

    Raises:
        ConfigError: the range is empty, or there is no such pooling.

    The model maps tokens to the scaled number, float32 `(batch, 1)`.

    Example:
        >>> model = TextRegressor.from_preset("micro_bert", value_range=(0.0, 5.0))
        >>> type(model.predict_text([("a good film", "a great film")])[0]).__name__
        'Regression'
    """

    label_kind = "value"

    def __init__(
        self,
        backbone: keras_hub.models.Backbone,
        preprocessor: TextPreprocessor,
        value_range: Sequence[float] = (0.0, 1.0),
        *,
        pooling: str = "cls",
        dropout: float = 0.1,
        name: str | None = None,
    ) -> None:
        low, high = map(float, value_range)
        if not -np.inf < low < high < np.inf:
            raise ConfigError(
                f"Expected value_range as two different numbers, the smaller first. Received: {low, high}."
            )

        # === Layers ===
        output_dense = keras.layers.Dense(1, kernel_initializer=initializer(), dtype="float32", name="logits")

        # === Functional Model ===
        pooled, pooler = pool_encoder(backbone, pooling, dropout)  # (batch, hidden)
        outputs = output_dense(keras.layers.Dropout(dropout, name="output_dropout")(pooled))  # (batch, 1)
        super().__init__(inputs=backbone.input, outputs=outputs, name=name or "text_regressor", compile=False)

        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.head = Head(pooling, (*pooler, output_dense))
        self.value_range = (low, high)
        self.answer_scale = max(high - low, max(abs(low), abs(high)) / 1000)  # float32 tells no finer steps
        self.pooling = pooling
        self.dropout = dropout
        self.compile()

    def compile(self, optimizer: Any = "auto", loss: Any = "auto", *, metrics: Any = "auto", **kwargs: Any) -> None:
        """Configure training, with defaults: Adam at 5e-5, squared error, absolute error as a metric (both scaled).

        Args:
            optimizer: as in Keras, or "auto".
            loss: as in Keras, or "auto".
            metrics: as in Keras, or "auto".
            **kwargs: as in `keras.Model.compile`.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(5e-5)
        if loss == "auto":
            loss = keras.losses.MeanSquaredError()
        if metrics == "auto":
            metrics = [keras.metrics.MeanAbsoluteError(name="absolute_error")]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    @classmethod
    def head_of(cls, data: TextDataset) -> dict[str, Any]:
        """Return the range of the numbers of training rows."""
        values = data.targets_of("value")
        return {"value_range": (min(values), max(values))}

    def encode_labels(self, data: TextDataset) -> np.ndarray:
        """Return each row's number, scaled to 0..1 by `value_range`, float32 `(rows,)`."""
        low, high = self.value_range
        return ((np.array(data.targets_of("value"), np.float64) - low) / (high - low)).astype(np.float32)

    def head_config(self) -> dict[str, Any]:
        """Return the constructor's own arguments as plain data."""
        return {"value_range": list(self.value_range), "pooling": self.pooling, "dropout": self.dropout}

    def answer_specs(self) -> dict[str, tf.TensorSpec]:
        """Return name -> spec of the answers."""
        return {"value": tf.TensorSpec([None], tf.float32, "value")}

    def signatures(self, *, pairs: bool = False, forward: Forward | None = None) -> dict[str, Signature]:
        """Return the signatures of the exported model; `regress` gives the number of each row."""
        found = super().signatures(pairs=pairs, forward=forward)
        ((name, _),) = self.answer_specs().items()
        outputs = {"outputs": tf.TensorSpec([None], tf.float32, "outputs")}
        regress = of_examples("regress", found["serving_default"], outputs, lambda answers: {"outputs": answers[name]})
        return {**found, "regress": regress}

    def postprocess(self, outputs: tf.Tensor) -> Outputs:
        """Turn the scaled number `(batch, 1)` into one in the units of the training rows."""
        low, high = self.value_range
        return {"value": tf.cast(outputs[:, 0], tf.float32) * (high - low) + low}
