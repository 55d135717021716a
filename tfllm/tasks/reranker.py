"""How well a document answers a query, read together: the `Reranker`."""

from collections.abc import Sequence
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, DataError
from tfllm.ranking import rank
from tfllm.results import Ranking
from tfllm.tasks.preprocessing import TextPreprocessor
from tfllm.tasks.signature import Outputs
from tfllm.tasks.text_regressor import TextRegressor

_POSITIVE = -1.0
"""The target of a pair that is right, and whose wrong partners are the other documents of its batch."""


@keras.saving.register_keras_serializable("tfllm")
class Reranker(TextRegressor):
    """Scores pairs of query and document with a cross-encoder (Nogueira and Cho, 2019, "Passage re-ranking with BERT").

    It learns by cross-entropy, either from pairs with a relevance (0 or 1, or graded; `label_kind="value"`), or from
    pairs that are all right, without a label column: then each query's wrong documents are the next few of its batch.

    Args:
        backbone: a KerasHub backbone of the BERT family.
        preprocessor: how strings become tokens.
        value_range: the relevance of a pair that does not fit, and of one that fits perfectly.
        pooling: "cls" for the pooled first token, or "mean" for the mean of all tokens.
        dropout: the dropout rate before the last layer.
        negatives: how many other documents of the batch each query is trained against, where rows have no label.

    Raises:
        ConfigError: a setting is out of range.

    The model maps tokens to logits, float32 `(batch, 1)`.

    Example:
        >>> model = Reranker.from_preset("micro_bert")
        >>> [result.index for result in model.rank("good film", ["bad food", "a good film"], top_k=1)] in ([0], [1])
        True
    """

    training_settings = ("dropout", "negatives")

    def __init__(
        self,
        backbone: keras_hub.models.Backbone,
        preprocessor: TextPreprocessor,
        value_range: Sequence[float] = (0.0, 1.0),
        *,
        pooling: str = "cls",
        dropout: float = 0.1,
        negatives: int = 4,
        name: str | None = None,
    ) -> None:
        if negatives < 1:
            raise ConfigError(f"Expected negatives of at least 1. Received: {negatives}.")
        super().__init__(backbone, preprocessor, value_range, pooling=pooling, dropout=dropout, name=name or "reranker")
        self.negatives = negatives
        self.answer_scale = 1.0  # a score of 0 to 1, whatever the range of the relevance

    def compile(self, optimizer: Any = "auto", loss: Any = "auto", *, metrics: Any = "auto", **kwargs: Any) -> None:
        """Configure training, with defaults: Adam at 5e-5, cross-entropy, accuracy (of relevance over one half).

        Args:
            optimizer: as in Keras, or "auto".
            loss: as in Keras, or "auto".
            metrics: as in Keras, or "auto".
            **kwargs: as in `keras.Model.compile`.
        """
        if loss == "auto":
            loss = keras.losses.BinaryCrossentropy(from_logits=True)
        if metrics == "auto":
            metrics = [keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    @classmethod
    def head_of(cls, data: TextDataset) -> dict[str, Any]:
        """Return the range of relevance of training rows."""
        return {} if data.label is None else super().head_of(data)

    def encode_labels(self, data: TextDataset) -> np.ndarray:
        """Return each row's relevance, 0..1, or -1 where rows have no label; float32 `(rows,)`.

        Raises:
            DataError: the rows are no pairs, or a relevance is out of `value_range`.
        """
        if data.text_pair is None:
            raise DataError(f"Expected pairs of query and document. Received: {data!r}. Load it with text_pair=.")
        if data.label is None:
            return np.full(len(data), _POSITIVE, np.float32)
        targets = super().encode_labels(data)
        if targets.min() < 0 or targets.max() > 1:
            raise DataError(
                f"Expected relevance of {self.value_range[0]:g} to {self.value_range[1]:g}, as in training. "
                f"Received: {min(data.targets):g} to {max(data.targets):g} in {data.source}."
            )
        return targets

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Turn pairs `(batch,)` into tokens, and add the wrong pairs where a batch has right ones alone."""
        if y is None:
            return self.preprocess(*x)
        query, document = x
        y = tf.cast(y, tf.float32)
        weight = tf.ones_like(y) if sample_weight is None else tf.cast(sample_weight, tf.float32)
        x, y, weight = tf.cond(
            tf.reduce_any(y == _POSITIVE),
            lambda: self._with_negatives(query, document, weight),
            lambda: ((query, document), y, weight),
        )
        return self.preprocess(*x), y, weight

    def _with_negatives(self, query: tf.Tensor, document: tf.Tensor, weight: tf.Tensor) -> tuple[Any, ...]:
        """Return `(1 + negatives) * batch` pairs, their targets and their weights.

        The weight is 0 where another row's document is the right one too.
        """
        others = [tf.roll(document, shift, axis=0) for shift in range(1, self.negatives + 1)]
        times = 1 + self.negatives
        weights = [weight, *(weight * tf.cast(other != document, tf.float32) for other in others)]
        targets = [tf.ones_like(weight), *([tf.zeros_like(weight)] * self.negatives)]
        pairs = (tf.tile(query, [times]), tf.concat([document, *others], axis=0))
        return pairs, tf.concat(targets, axis=0), tf.concat(weights, axis=0)

    def rank(self, query: str, documents: Sequence[str], *, top_k: int | None = None) -> list[Ranking]:
        """Put documents in the order of their relevance for a query.

        `tfllm.rank(client.predict, query, documents)` does the same with a served model.

        Args:
            query: the query.
            documents: the documents.
            top_k: how many of the best to return; all by default.

        Returns:
            The documents, the most relevant first.
        """
        return rank(self.predict_text, query, documents, top_k=top_k)

    def head_config(self) -> dict[str, Any]:
        """Return the constructor's own arguments as plain data."""
        return {**super().head_config(), "negatives": self.negatives}

    def answer_specs(self) -> dict[str, tf.TensorSpec]:
        """Return name -> spec of the answers."""
        return {"score": tf.TensorSpec([None], tf.float32, "score")}

    def postprocess(self, outputs: tf.Tensor) -> Outputs:
        """Turn logits `(batch, 1)` into scores, 0 to 1."""
        return {"score": tf.sigmoid(tf.cast(outputs[:, 0], tf.float32))}
