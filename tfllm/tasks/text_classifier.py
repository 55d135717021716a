"""One label for a text or a pair of texts: the `TextClassifier`."""

from collections.abc import Iterable
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfllm.data.labels import LabelMap
from tfllm.data.schema import TextDataset
from tfllm.errors import UnknownLabel
from tfllm.tasks.base import Outputs, Task
from tfllm.tasks.heads import Head, initializer, pool_encoder
from tfllm.tasks.preprocessing import TextPreprocessor


@keras.saving.register_keras_serializable("tfllm")
class TextClassifier(Task):
    """Classifies texts, or pairs of texts, with any encoder of the BERT family.

    The head is that of BERT (Devlin et al., 2019, section 3.2): the pooled first token, dropout, one dense layer. An
    encoder without a pooler of its own gets a dense tanh layer before it, as RoBERTa does (Liu et al., 2019).

    Args:
        backbone: a KerasHub backbone of the BERT family.
        preprocessor: how strings become tokens.
        labels: the labels, as a `LabelMap` or in the order of their indices.
        pooling: "first" for the pooled first token, or "mean" for the mean of all tokens, which suits encoders trained
            as sentence embedders (Reimers and Gurevych, 2019, section 3) and small training sets.
        dropout: the dropout rate before the last layer.

    Raises:
        ConfigError: there is no such pooling.

    The model maps tokens to logits, float32 `(batch, classes)`.

    Example:
        >>> model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
        >>> model.predict(["good film", "bad food"], verbose=0).shape
        (2, 2)
        >>> model.predict_text("good film").label in model.labels
        True
    """

    monitor = ("val_accuracy", "max")

    def __init__(
        self,
        backbone: keras_hub.models.Backbone,
        preprocessor: TextPreprocessor,
        labels: LabelMap | Iterable[str | int],
        *,
        pooling: str = "first",
        dropout: float = 0.1,
        name: str | None = None,
    ) -> None:
        label_map = labels if isinstance(labels, LabelMap) else LabelMap(labels)

        # === Layers ===
        output_dense = keras.layers.Dense(
            len(label_map), kernel_initializer=initializer(), dtype="float32", name="logits"
        )

        # === Functional Model ===
        pooled, pooler = pool_encoder(backbone, pooling, dropout)  # (batch, hidden)
        outputs = output_dense(keras.layers.Dropout(dropout, name="classifier_dropout")(pooled))  # (batch, classes)
        super().__init__(inputs=backbone.input, outputs=outputs, name=name or "text_classifier", compile=False)

        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.head = Head(pooling, (*pooler, output_dense))
        self.labels = label_map
        self.pooling = pooling
        self.dropout = dropout
        self.compile()

    def compile(self, optimizer: Any = "auto", loss: Any = "auto", *, metrics: Any = "auto", **kwargs: Any) -> None:
        """Configure training, with defaults: Adam at 5e-5, sparse cross-entropy, accuracy.

        Args:
            optimizer: as in Keras, or "auto".
            loss: as in Keras, or "auto".
            metrics: as in Keras, or "auto".
            **kwargs: as in `keras.Model.compile`.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(5e-5)
        if loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if metrics == "auto":
            metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def encode_labels(self, data: TextDataset) -> np.ndarray:
        """Return the index of each row's label, int32 `(rows,)`.

        Raises:
            UnknownLabel: a label is not one of the model's.
        """
        try:
            return self.labels.encode(data.label_values)
        except UnknownLabel as error:
            unknown = [row for row, label in enumerate(data.label_values) if label not in self.labels]
            raise UnknownLabel(f"In {data.source}, column '{data.label}', row {unknown[0]}: {error}") from error

    def head_config(self) -> dict[str, Any]:
        """Return the constructor's own arguments as plain data."""
        return {"labels": list(self.labels.names), "pooling": self.pooling, "dropout": self.dropout}

    def answer_specs(self) -> dict[str, tf.TensorSpec]:
        """Return name -> spec of the answers."""
        return {
            "label": tf.TensorSpec([None], tf.string, "label"),
            "score": tf.TensorSpec([None], tf.float32, "score"),
            "scores": tf.TensorSpec([None, len(self.labels)], tf.float32, "scores"),
        }

    def postprocess(self, outputs: tf.Tensor) -> Outputs:
        """Turn logits `(batch, classes)` into the most probable label, its score, and all scores."""
        scores = tf.nn.softmax(tf.cast(outputs, tf.float32), axis=-1)
        return {
            "label": tf.gather(tf.constant(self.labels.names), tf.argmax(scores, axis=-1)),
            "score": tf.reduce_max(scores, axis=-1),
            "scores": scores,
        }
