"""One label, or several, for a text or a pair of texts: the `TextClassifier`."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfllm.data.labels import LabelMap
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, UnknownLabel
from tfllm.tasks.added_tokens import ENTITY_MARKS, grow_embeddings
from tfllm.tasks.base import Task
from tfllm.tasks.heads import Head, initializer, pool_encoder
from tfllm.tasks.losses import ClassificationLoss, mean_divergence
from tfllm.tasks.preprocessing import TextPreprocessor
from tfllm.tasks.signature import Forward, Outputs, Signature, of_examples
from tfllm.tasks.thresholds import DEFAULT_THRESHOLD, best_f1_thresholds, best_rejection_threshold


@keras.saving.register_keras_serializable("tfllm")
class TextClassifier(Task):
    """Classifies texts, or pairs of texts, with any encoder of the BERT family.

    The head is that of BERT (Devlin et al., 2019, section 3.2): the pooled first token, dropout, one dense layer. An
    encoder without a pooler of its own gets a dense tanh layer before it, as RoBERTa does (Liu et al., 2019).

    Args:
        backbone: a KerasHub backbone of the BERT family.
        preprocessor: how strings become tokens.
        labels: the labels, as a `LabelMap` or in the order of their indices.
        multi_label: whether a text may have any number of the labels; results are then `MultiLabel`.
        pooling: "cls" for the pooled first token, or "mean" for the mean of all tokens, which suits encoders trained
            as sentence embedders (Reimers and Gurevych, 2019, section 3) and small training sets.
        dropout: the dropout rate before the last layer.
        label_smoothing: see `ClassificationLoss`.
        focal_gamma: see `ClassificationLoss`.
        marked_entities: whether `<e1>`, `</e1>`, `<e2>`, `</e2>` in the texts are tokens of their own, to ask for the
            relation of the two entities that they stand around.
        thresholds: for several labels, the score from which each counts, in the order of the labels; by default 0.5.
            `tune_thresholds` chooses them.
        out_of_scope: for one label, a name and a score: a text whose best score is under it gets the name for a label.
            `tune_out_of_scope` chooses it.

    Raises:
        ConfigError: there is no such pooling, or settings contradict each other.

    The model maps tokens to logits, float32 `(batch, classes)`.

    Example:
        >>> model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
        >>> model.predict(["good film", "bad food"], verbose=0).shape
        (2, 2)
        >>> model.predict_text("good film").label in model.labels
        True
    """

    monitor = ("val_accuracy", "max")
    training_settings = ("dropout", "label_smoothing", "focal_gamma", "thresholds", "out_of_scope")

    def __init__(
        self,
        backbone: keras_hub.models.Backbone,
        preprocessor: TextPreprocessor,
        labels: LabelMap | Iterable[str | int],
        *,
        multi_label: bool = False,
        pooling: str = "cls",
        dropout: float = 0.1,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        marked_entities: bool = False,
        thresholds: Sequence[float] | None = None,
        out_of_scope: tuple[str, float] | None = None,
        name: str | None = None,
    ) -> None:
        label_map = labels if isinstance(labels, LabelMap) else LabelMap(labels)
        if marked_entities:
            backbone = grow_embeddings(backbone, preprocessor.add_tokens(ENTITY_MARKS))

        # === Layers ===
        dense = keras.layers.Dense(len(label_map), kernel_initializer=initializer(), dtype="float32", name="logits")

        # === Functional Model ===
        pooled, pooler = pool_encoder(backbone, pooling, dropout)  # (batch, hidden)
        outputs = dense(keras.layers.Dropout(dropout, name="classifier_dropout")(pooled))  # (batch, classes)
        super().__init__(inputs=backbone.input, outputs=outputs, name=name or "text_classifier", compile=False)

        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.head = Head(pooling, (*pooler, dense))
        self.labels, self.multi_label = label_map, multi_label
        self.label_kind = "labels" if multi_label else "label"
        self.pooling = pooling
        self.dropout = dropout
        self.marked_entities = marked_entities
        self._loss_settings = {"label_smoothing": label_smoothing, "focal_gamma": focal_gamma}
        self._decide_by(thresholds, out_of_scope)
        self.compile()

    def compile(self, optimizer: Any = "auto", loss: Any = "auto", *, metrics: Any = "auto", **kwargs: Any) -> None:
        """Configure training, with defaults: Adam at 5e-5, `ClassificationLoss`, accuracy.

        Args:
            optimizer: as in Keras, or "auto".
            loss: as in Keras, or "auto".
            metrics: as in Keras, or "auto"; of several labels the accuracy is that of each yes or no.
            **kwargs: as in `keras.Model.compile`.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(5e-5)
        if loss == "auto":
            loss = ClassificationLoss(multi_label=self.multi_label, **self._loss_settings)
        if metrics == "auto":
            several = keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)  # of logits
            metrics = [several if self.multi_label else keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    @classmethod
    def head_of(cls, data: TextDataset) -> dict[str, Any]:
        """Return the labels that occur in training rows, and whether a row may have several."""
        return {"labels": data.labels, "multi_label": data.label_kind == "labels"}

    @classmethod
    def merge_heads(cls, saved: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """Return a saved head with other settings; other labels have no thresholds yet."""
        if "labels" in given and list(LabelMap(given["labels"]).names) != saved["labels"]:
            saved = {**saved, "thresholds": None, "out_of_scope": None}
        return {**saved, **given}

    def encode_labels(self, data: TextDataset) -> np.ndarray:
        """Return the index of each row's label, int32 `(rows,)`, or of several labels 0 or 1, `(rows, classes)`.

        Raises:
            UnknownLabel: a label is not one of the model's.
        """
        rows = data.targets_of("labels") if self.multi_label else [[label] for label in data.label_values]
        encoded = np.zeros((len(rows), len(self.labels)), np.int32)
        for row, labels in enumerate(rows):
            try:
                encoded[row, self.labels.encode(labels)] = 1
            except UnknownLabel as error:
                raise UnknownLabel(f"In {data.source}, column '{data.label}', row {row}: {error}") from error
        return encoded if self.multi_label else encoded.argmax(axis=1).astype(np.int32)

    def tune_thresholds(self, data: TextDataset) -> dict[str, float]:
        """Choose, for a model of several labels, the score from which each label counts: that of its best F1.

        Use rows that were not trained on. What is chosen is saved and exported with the model.

        Args:
            data: rows with several labels.

        Returns:
            label -> threshold.

        Raises:
            ConfigError: the model gives one label a text.
        """
        if not self.multi_label:
            raise ConfigError("Expected a model made with multi_label=True. Received: one of one label a text.")
        scores = np.array([result.scores for result in self.predict_text(data.texts)])
        self._decide_by(best_f1_thresholds(scores, self.encode_labels(data)), None)
        return dict(zip(self.labels.names, self.thresholds or (), strict=True))

    def tune_out_of_scope(self, data: TextDataset, *, label: str = "out_of_scope", balanced: bool = True) -> float:
        """Choose the score under which a text counts as out of scope, and gets `label` for its label.

        Train on rows in scope alone. Use rows here that were not trained on, in scope and out of it. The score of a
        result stays that of the best label in scope. (Hendrycks and Gimpel, 2017, "A baseline for detecting
        misclassified and out-of-distribution examples".)

        Args:
            data: rows, those out of scope labelled `label`.
            label: that label.
            balanced: True lets accuracy in scope and recall out of scope count the same, False each row.

        Returns:
            The threshold.

        Raises:
            ConfigError: the model gives several labels a text, knows `label` as one of its own, or no row has it.
        """
        expected = np.array(data.label_values)
        if self.multi_label or label in self.labels or label not in expected:
            rows = int((expected == label).sum())
            raise ConfigError(
                f"Expected a model of one label a text that was not trained on '{label}', and rows labelled so. "
                f"Received: multi_label={self.multi_label}, {rows} such rows of {data.source}."
            )
        scores = np.array([result.scores for result in self.predict_text(data.texts)])
        right = np.array(self.labels.names)[scores.argmax(axis=1)] == expected
        threshold = best_rejection_threshold(scores.max(axis=1), right, expected == label, balanced=balanced)
        self._decide_by(None, (label, threshold))
        return threshold

    def _decide_by(self, thresholds: Sequence[float] | None, out_of_scope: Sequence[Any] | None) -> None:
        if thresholds is not None and (not self.multi_label or len(thresholds) != len(self.labels)):
            raise ConfigError(
                f"Expected thresholds for {len(self.labels)} labels of a model with multi_label=True. "
                f"Received: {len(thresholds)} with multi_label={self.multi_label}."
            )
        if out_of_scope is not None and (self.multi_label or out_of_scope[0] in self.labels):
            raise ConfigError(
                "Expected out_of_scope as a name that is no label, of a model of one label a text. "
                f"Received: {tuple(out_of_scope)} with multi_label={self.multi_label}."
            )
        self.thresholds = None if thresholds is None else tuple(map(float, thresholds))
        self.out_of_scope = None if out_of_scope is None else (str(out_of_scope[0]), float(out_of_scope[1]))
        self.forget_traces()

    def head_config(self) -> dict[str, Any]:
        """Return the constructor's own arguments as plain data."""
        return {
            "labels": list(self.labels.names),
            "multi_label": self.multi_label,
            "pooling": self.pooling,
            "dropout": self.dropout,
            **self._loss_settings,
            "marked_entities": self.marked_entities,
            "thresholds": None if self.thresholds is None else list(self.thresholds),
            "out_of_scope": None if self.out_of_scope is None else list(self.out_of_scope),
        }

    def answer_specs(self) -> dict[str, tf.TensorSpec]:
        """Return name -> spec of the answers."""
        scores = tf.TensorSpec([None, len(self.labels)], tf.float32, "scores")
        if self.multi_label:
            labels = tf.TensorSpec([None, len(self.labels)], tf.string, "labels")
            return {"scores": scores, "labels": labels, "count": tf.TensorSpec([None], tf.int32, "count")}
        return {
            "label": tf.TensorSpec([None], tf.string, "label"),
            "score": tf.TensorSpec([None], tf.float32, "score"),
            "scores": scores,
        }

    def signatures(self, *, pairs: bool = False, forward: Forward | None = None) -> dict[str, Signature]:
        """Return the signatures of the exported model; `classify` gives the labels of all scores."""
        found = super().signatures(pairs=pairs, forward=forward)
        scores = self.answer_specs()["scores"]
        outputs = {"classes": tf.TensorSpec(scores.shape, tf.string, "classes"), "scores": scores}

        def classes_of(answers: Outputs) -> Outputs:
            names = tf.broadcast_to(tf.constant(self.labels.names), tf.shape(answers["scores"]))
            return {"classes": names, "scores": answers["scores"]}

        return {**found, "classify": of_examples("classify", found["serving_default"], outputs, classes_of)}

    def disagreement(self, first: tf.Tensor, second: tf.Tensor, sample_weight: tf.Tensor | None = None) -> tf.Tensor:
        """Return how far two passes' logits `(batch, classes)` are apart, the mean over the rows; float32 scalar."""
        return mean_divergence(first, second, sample_weight, multi_label=self.multi_label)

    def postprocess(self, outputs: tf.Tensor) -> Outputs:
        """Turn logits `(batch, classes)` into labels and scores, as `answer_specs` says."""
        logits = tf.cast(outputs, tf.float32)
        if self.multi_label:
            scores = tf.sigmoid(logits)
            chosen = scores >= tf.constant(self.thresholds or [DEFAULT_THRESHOLD] * len(self.labels))
            labels = tf.where(chosen, tf.constant(self.labels.names), "")
            return {"scores": scores, "labels": labels, "count": tf.reduce_sum(tf.cast(chosen, tf.int32), axis=-1)}
        scores = tf.nn.softmax(logits, axis=-1)
        score = tf.reduce_max(scores, axis=-1)
        label = tf.gather(tf.constant(self.labels.names), tf.argmax(scores, axis=-1))
        if self.out_of_scope is not None:
            name, threshold = self.out_of_scope
            label = tf.where(score < threshold, name, label)
        return {"label": label, "score": score, "scores": scores}
