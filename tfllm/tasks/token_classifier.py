"""Entities in a text, or a tag for each word: the `TokenClassifier`."""

from collections.abc import Iterable
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfllm.data.labels import LabelMap
from tfllm.data.pipeline import TrainingRows
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, UnknownLabel, choices_hint
from tfllm.tasks.base import Task
from tfllm.tasks.heads import Head, encode_tokens, initializer
from tfllm.tasks.losses import mean_divergence
from tfllm.tasks.preprocessing import TextPreprocessor
from tfllm.tasks.signature import Forward, Outputs
from tfllm.tasks.tagging import answer_of_spans, bio_spans
from tfllm.tasks.token_accuracy import TokenAccuracy
from tfllm.tasks.windows import cut_windows, merge_windows, select, window_at, windows_of
from tfllm.tasks.words import UNKNOWN_TAG, Words, group_words, word_kinds

SCHEMES = {"bio": "entities, which may have several words", "plain": "one tag for each word"}
WORDS = {"basic": "split at white space and punctuation", "spaces": "split at white space"}
_CHUNK_ROWS = 512


@keras.saving.register_keras_serializable("tfllm")
class TokenClassifier(Task):
    """Finds entities in texts, or tags their words, with any encoder of the BERT family.

    The first token of each word is classified by a dense layer (Devlin et al., 2019, section 5.3). A text with more
    tokens than fit is read in windows that overlap, and each word is judged in the window where it has the most
    context.

    Args:
        backbone: a KerasHub backbone of the BERT family.
        preprocessor: how strings become tokens.
        labels: the types of entities, or with `scheme="plain"` the tags.
        scheme: "bio" for entities of one or more words, "plain" for one tag a word, such as its part of speech.
        words: "basic" where each punctuation mark is a word, as BERT has it, so that "Paris." has the entity "Paris";
            "spaces" where only white space ends a word, as in data that comes as tokens. By default "basic" for
            entities and "spaces" for plain tags.
        overlap: tokens that two windows have in common.
        dropout: the dropout rate before the last layer.

    Raises:
        ConfigError: there is no such scheme or kind of words, or the cleaner moves text.

    The model maps tokens to logits, float32 `(batch, sequence, tags)`; the tags of entities are O, B-x, I-x, B-y, ...

    Example:
        >>> model = TokenClassifier.from_preset("micro_bert", labels=["city", "person"])
        >>> text = "Anna lives in Paris."
        >>> all(text[found.start : found.end] == found.word for found in model.predict_text(text))
        True
    """

    label_kind = "entities"
    tokens_have_targets = True
    training_settings = ("dropout", "overlap")

    def __init__(
        self,
        backbone: keras_hub.models.Backbone,
        preprocessor: TextPreprocessor,
        labels: LabelMap | Iterable[str | int],
        *,
        scheme: str = "bio",
        words: str | None = None,
        overlap: int = 32,
        dropout: float = 0.1,
        name: str | None = None,
    ) -> None:
        words = words or ("spaces" if scheme == "plain" else "basic")
        for key, value, choices in (("scheme", scheme, SCHEMES), ("words", words, WORDS)):
            if value not in choices:
                raise ConfigError(f"Expected a known {key}. Received: {key}={value!r}. {choices_hint(value, choices)}")
        preprocessor.require_offsets()
        label_map = labels if isinstance(labels, LabelMap) else LabelMap(labels, least=1)
        tags = 1 + 2 * len(label_map) if scheme == "bio" else len(label_map)

        # === Layers ===
        output_dense = keras.layers.Dense(tags, kernel_initializer=initializer(), dtype="float32", name="logits")

        # === Functional Model ===
        sequence = encode_tokens(backbone)  # (batch, sequence, hidden)
        outputs = output_dense(keras.layers.Dropout(dropout, name="classifier_dropout")(sequence))
        super().__init__(inputs=backbone.input, outputs=outputs, name=name or "token_classifier", compile=False)

        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.head = Head("tokens", (output_dense,))
        self.labels = label_map
        self.scheme = scheme
        self.words = words
        self.overlap = overlap
        self.dropout = dropout
        self.compile()

    def compile(self, optimizer: Any = "auto", loss: Any = "auto", *, metrics: Any = "auto", **kwargs: Any) -> None:
        """Configure training, with defaults: Adam at 5e-5, cross-entropy and accuracy over the words.

        Args:
            optimizer: as in Keras, or "auto".
            loss: as in Keras, or "auto".
            metrics: as in Keras, or "auto"; weighted, since only the first token of a word counts.
            **kwargs: as in `keras.Model.compile`.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(5e-5)
        if loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        if metrics == "auto":
            metrics = [TokenAccuracy(name="accuracy")]
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=metrics, **kwargs)

    @classmethod
    def head_of(cls, data: TextDataset) -> dict[str, Any]:
        """Return the types of entities that training rows have."""
        return {"labels": data.labels}

    def head_config(self) -> dict[str, Any]:
        """Return the constructor's own arguments as plain data."""
        names = ("scheme", "words", "overlap", "dropout")
        return {"labels": list(self.labels.names), **{name: getattr(self, name) for name in names}}

    def answer_specs(self) -> dict[str, tf.TensorSpec]:
        """Return name -> spec of the answers."""
        types = {"entity": tf.string, "word": tf.string, "start": tf.int32, "end": tf.int32, "score": tf.float32}
        specs = {name: tf.TensorSpec([None, None], dtype, name) for name, dtype in types.items()}
        return {**specs, "count": tf.TensorSpec([None], tf.int32, "count")}

    # Training: a row is a window of a text, its targets are the tags of the text's words.

    def encode_labels(self, data: TextDataset) -> tf.RaggedTensor:
        """Return the tag of each word, int32 ragged `(rows, (words))`; -1 for a word that has none in the data.

        Raises:
            UnknownLabel: an entity has a type that the model does not know.
        """
        return self._targets(data)[0]

    def training_rows(self, data: TextDataset) -> TrainingRows:
        """Return a row for each window: the text, the window's number, and the tags of the text's words."""
        tags, lengths = self._targets(data)
        lengths = tf.constant(lengths, tf.int32)
        windows = cut_windows(lengths, *self._sizes(lengths))
        counts = windows_of(lengths, *self._sizes(lengths))
        rows = windows.rows.numpy()
        texts = data.frame[data.text].tolist()
        columns = ([texts[row] for row in rows], tf.ragged.range(counts).flat_values.numpy())
        special = self.preprocessor.max_length - self.preprocessor.room()
        return TrainingRows(columns, tf.gather(tags, rows), windows.lengths.numpy() + special)

    def disagreement(self, first: tf.Tensor, second: tf.Tensor, sample_weight: tf.Tensor) -> tf.Tensor:
        """Return how far two passes' logits `(batch, tokens, tags)` are apart, the mean over words; float32 scalar."""
        return tf.math.divide_no_nan(
            mean_divergence(first, second, sample_weight), tf.reduce_mean(tf.cast(sample_weight, tf.float32))
        )

    def loss_weight(self, count: tf.Tensor, y: Any, sample_weight: Any) -> tf.Tensor:
        """Return how many words a batch has, since its loss is the mean over words; float32 scalar."""
        return tf.reduce_sum(sample_weight)

    def _targets(self, data: TextDataset) -> tuple[tf.RaggedTensor, np.ndarray]:
        """Return the tags of the words of each text, and how many tokens each text has."""
        entities = data.targets_of("entities")
        texts = data.frame[data.text].tolist()
        tags, lengths = [], []
        for begin in range(0, len(texts), _CHUNK_ROWS):
            spans = self.preprocessor.locate_tokens(tf.constant(texts[begin : begin + _CHUNK_ROWS]))
            words = group_words(spans, by_spaces=self.words == "spaces")
            splits = words.starts.row_splits.numpy()
            starts, ends = words.starts.flat_values.numpy(), words.ends.flat_values.numpy()
            for offset, (first, last) in enumerate(zip(splits, splits[1:], strict=False)):
                row = begin + offset
                tags.append(self._tags_of(starts[first:last], ends[first:last], entities[row], data, row))
            lengths.append(spans.ids.row_lengths().numpy())
        flat = np.concatenate(tags) if tags else np.zeros(0, np.int32)
        return tf.RaggedTensor.from_row_lengths(flat, [len(found) for found in tags]), np.concatenate(lengths)

    def _tags_of(
        self, starts: np.ndarray, ends: np.ndarray, entities: list[tuple[int, int, str]], data: TextDataset, row: int
    ) -> np.ndarray:
        try:
            kinds = self.labels.encode([kind for _, _, kind in entities])
        except UnknownLabel as error:
            raise UnknownLabel(f"In {data.source}, column '{data.label}', row {row}: {error}") from error
        tags = np.full(len(starts), 0 if self.scheme == "bio" else UNKNOWN_TAG, np.int32)
        before = -1
        for word, entity in word_kinds(starts, ends, entities):
            tags[word] = 1 + 2 * kinds[entity] + (entity == before) if self.scheme == "bio" else kinds[entity]
            before = entity
        return tags

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Turn texts, or texts and the numbers of windows, into tokens; tags of words into tags of tokens."""
        text, number = x if isinstance(x, tuple) else (x, None)
        spans = self.preprocessor.locate_tokens(text)
        lengths = tf.cast(spans.ids.row_lengths(), tf.int32)
        rows = tf.range(tf.size(lengths))
        number = tf.zeros_like(rows) if number is None else tf.cast(number, tf.int32)
        windows = window_at(lengths, *self._sizes(lengths), rows, number)
        tokens = self.preprocessor.pack(select(windows, spans.ids))
        if y is None:
            return keras.utils.pack_x_y_sample_weight(tokens)
        words = group_words(spans, by_spaces=self.words == "spaces")
        known = tf.fill([tf.size(spans.ids.flat_values), 1], UNKNOWN_TAG)
        known = tf.tensor_scatter_nd_update(
            known, words.tokens.flat_values[:, tf.newaxis], y.flat_values[:, tf.newaxis]
        )
        tags = select(windows, spans.ids.with_flat_values(known[:, 0])).to_tensor(UNKNOWN_TAG)
        tags = tf.pad(tags, [[0, 0], [1, 1]], constant_values=UNKNOWN_TAG)  # special tokens have none
        weights = tf.cast(tags != UNKNOWN_TAG, tf.float32)
        if sample_weight is not None:
            weights *= tf.cast(sample_weight, tf.float32)[:, tf.newaxis]
        return tokens, tf.maximum(tags, 0), weights

    # Answers.

    def respond(self, forward: Forward, *texts: tf.Tensor) -> Outputs:
        """Turn texts, string `(batch,)`, into entities, with a forward pass of the caller's choice."""
        (text,) = texts
        words, scores = self.word_scores(forward, text)
        return answer_of_spans(text, words, *self._spans(scores, words), self.labels.names)

    def word_scores(self, forward: Forward, text: tf.Tensor) -> tuple[Words, tf.Tensor]:
        """Return the words of texts, string `(batch,)`, and how likely each tag of each is, float32 `(words, tags)`."""
        spans = self.preprocessor.locate_tokens(text)
        lengths = tf.cast(spans.ids.row_lengths(), tf.int32)
        windows = cut_windows(lengths, *self._sizes(lengths))
        logits = forward(self.preprocessor.pack(select(windows, spans.ids)))  # (windows, sequence, tags)
        logits = merge_windows(windows, tf.cast(logits, tf.float32)[:, 1:-1], spans.ids)  # (tokens, tags)
        words = group_words(spans, by_spaces=self.words == "spaces")
        return words, tf.nn.softmax(tf.gather(logits, words.tokens.flat_values), axis=-1)

    def _spans(self, scores: tf.Tensor, words: Words) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if self.scheme == "bio":
            return bio_spans(scores, words)
        every = tf.range(tf.shape(scores)[0])
        return every, tf.argmax(scores, axis=-1, output_type=tf.int32), tf.reduce_max(scores, axis=-1)

    def _sizes(self, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return how many tokens a window of each text takes, and how many two of them have in common."""
        room = self.preprocessor.room()
        return tf.fill(tf.shape(lengths), room), tf.fill(tf.shape(lengths), min(self.overlap, room // 2))
