"""Answers to questions, as parts of a context: the `QuestionAnswerer`."""

from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfllm.data.answers import best_threshold
from tfllm.data.pipeline import TrainingRows
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, DataError
from tfllm.tasks.base import Task, Texts
from tfllm.tasks.heads import Head, encode_tokens, initializer
from tfllm.tasks.preprocessing import TextPreprocessor
from tfllm.tasks.rows import as_rows
from tfllm.tasks.signature import Forward, Outputs
from tfllm.tasks.span_search import (
    BestSpans,
    best_spans,
    span_accuracy,
    span_loss,
    tokens_of_places,
    value_at,
    without_padding,
)
from tfllm.tasks.tagging import substring
from tfllm.tasks.tokenizers.spans import TokenSpans
from tfllm.tasks.windows import Windows, cut_windows, select, window_at, windows_of

_CHUNK_ROWS = 256
_FEWEST_CONTEXT_TOKENS = 8


@keras.saving.register_keras_serializable("tfllm")
class QuestionAnswerer(Task):
    """Answers questions with a part of a context, with any encoder of the BERT family.

    A dense layer scores each token as the first and as the last of the answer (Devlin et al., 2019, section 4.2). A
    long context is read in windows that overlap, with the question before each; the best span of all windows is the
    answer, and it is the exact part of the context as it was sent.

    Args:
        backbone: a KerasHub backbone of the BERT family.
        preprocessor: how strings become tokens.
        overlap: tokens of the context that two windows have in common, at most half of what a window takes.
        longest_answer: the most tokens of an answer.
        longest_question: the most tokens of a question; a longer one loses its end.
        no_answer: how much more likely than the best span no answer must be (a difference of logits) for the answer to
            be empty; None always answers. `tune_no_answer` chooses it.
        dropout: the dropout rate before the last layer.

    Raises:
        ConfigError: a number is too small, or the cleaner moves text.

    The model maps tokens to start and end logits, float32 `(batch, sequence, 2)`.

    Example:
        >>> model = QuestionAnswerer.from_preset("micro_bert")
        >>> context = "The bakery opened in 1987."
        >>> (found,) = model.predict_text([("When did it open?", context)])
        >>> found.answer == context[found.start : found.end]
        True
    """

    default_length = 384
    label_kind = "answers"
    training_settings = ("dropout", "overlap", "longest_answer", "longest_question", "no_answer")

    def __init__(
        self,
        backbone: keras_hub.models.Backbone,
        preprocessor: TextPreprocessor,
        *,
        overlap: int = 128,
        longest_answer: int = 30,
        longest_question: int = 64,
        no_answer: float | None = None,
        dropout: float = 0.0,
        name: str | None = None,
    ) -> None:
        if overlap < 0 or longest_answer < 1 or longest_question < 1:
            raise ConfigError(
                "Expected overlap of at least 0, longest_answer and longest_question of at least 1. Received: "
                f"overlap={overlap}, longest_answer={longest_answer}, longest_question={longest_question}."
            )
        if (room := preprocessor.room(pairs=True)) < 2:
            raise ConfigError(f"Expected max_length of at least {preprocessor.max_length + 2 - room}. Received: less.")
        preprocessor.require_offsets()

        # === Layers ===
        output_dense = keras.layers.Dense(2, kernel_initializer=initializer(), dtype="float32", name="logits")

        # === Functional Model ===
        sequence = encode_tokens(backbone)  # (batch, sequence, hidden)
        outputs = output_dense(keras.layers.Dropout(dropout, name="classifier_dropout")(sequence))
        super().__init__(inputs=backbone.input, outputs=outputs, name=name or "question_answerer", compile=False)

        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.head = Head("tokens", (output_dense,))
        self.overlap = overlap
        self.longest_answer = longest_answer
        self.longest_question = longest_question
        self.no_answer = no_answer
        self.dropout = dropout
        self.pairs = True
        self.compile()

    def compile(self, optimizer: Any = "auto", loss: Any = "auto", *, metrics: Any = "auto", **kwargs: Any) -> None:
        """Configure training, with defaults: Adam at 5e-5, cross-entropy of the answer's ends, their accuracy.

        Args:
            optimizer: as in Keras, or "auto".
            loss: as in Keras, or "auto".
            metrics: as in Keras, or "auto".
            **kwargs: as in `keras.Model.compile`.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(5e-5)
        if loss == "auto":
            loss = span_loss
        if metrics == "auto":
            metrics = [keras.metrics.MeanMetricWrapper(span_accuracy, name="accuracy")]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        """Return the loss of a batch, the same whatever it is padded to; called by Keras."""
        return super().compute_loss(x, y, without_padding(y_pred, x["padding_mask"]), sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Count a batch in the metrics, the same whatever it is padded to; called by Keras."""
        return super().compute_metrics(x, y, without_padding(y_pred, x["padding_mask"]), sample_weight)

    @classmethod
    def head_of(cls, data: TextDataset) -> dict[str, Any]:
        """Return nothing: the head is the same for all training rows."""
        return {}

    def head_config(self) -> dict[str, Any]:
        """Return the constructor's own arguments as plain data."""
        names = ("overlap", "longest_answer", "longest_question", "no_answer", "dropout")
        return {name: getattr(self, name) for name in names}

    def answer_specs(self) -> dict[str, tf.TensorSpec]:
        """Return name -> spec of the answers."""
        types = {"answer": tf.string, "start": tf.int32, "end": tf.int32, "score": tf.float32}
        return {name: tf.TensorSpec([None], dtype, name) for name, dtype in types.items()}

    def input_names(self, *, pairs: bool) -> tuple[str, ...]:
        """Return the names of the text inputs."""
        return ("question", "context")

    def predict_text(self, texts: Texts, *, batch_size: int = 32) -> Any:
        """Answer questions.

        Args:
            texts: `(question, context)` pairs.
            batch_size: questions a step.

        Returns:
            A list of `Answer`.

        Raises:
            DataError: something is not a pair of texts.
        """
        if isinstance(texts, str | bytes) or any(len(row) != 2 for row in as_rows(texts)):
            raise DataError("Expected a list of (question, context) pairs. Received: texts that are no pairs.")
        return super().predict_text(texts, batch_size=batch_size)

    # Training: a row is a window of a context, its target the answer as code points of the context.

    def encode_labels(self, data: TextDataset) -> np.ndarray:
        """Return where the first of the answers starts and ends, int32 `(rows, 2)`; -1 where there is none."""
        return np.array([found[0] if found else (-1, -1) for found in data.targets_of("answers")], np.int32)

    def training_rows(self, data: TextDataset) -> TrainingRows:
        """Return a row for each window: question, context, the window's number, and the answer's place.

        Raises:
            DataError: the rows have no context.
        """
        if data.text_pair is None:
            raise DataError(f"Expected questions with a context (text_pair=). Received: {data!r}.")
        questions, contexts = (data.frame[name].tolist() for name in (data.text, data.text_pair))
        rows, numbers, lengths = [], [], []
        for begin in range(0, len(questions), _CHUNK_ROWS):
            chunk = slice(begin, begin + _CHUNK_ROWS)
            question, spans = self._tokenize(tf.constant(questions[chunk]), tf.constant(contexts[chunk]))
            sizes = self._sizes(question, spans)
            windows = cut_windows(*sizes)
            rows.append(begin + windows.rows.numpy())
            numbers.append(tf.ragged.range(windows_of(*sizes)).flat_values.numpy())
            first = tf.gather(self.preprocessor.second_begins(question), windows.rows)
            lengths.append((first + windows.lengths + 1).numpy())
        row = np.concatenate(rows)
        columns = ([questions[r] for r in row], [contexts[r] for r in row], np.concatenate(numbers))
        return TrainingRows(columns, self.encode_labels(data)[row], np.concatenate(lengths))

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Turn questions and contexts, and the numbers of windows, into tokens; answers into places of tokens."""
        question, context, *number = x
        ids, spans = self._tokenize(question, context)
        rows = tf.range(tf.cast(ids.nrows(), tf.int32))
        windows = window_at(*self._sizes(ids, spans), rows, tf.cast(number[0], tf.int32) if number else 0 * rows)
        tokens = self.preprocessor.pack(ids, select(windows, spans.ids))
        if y is None:
            return keras.utils.pack_x_y_sample_weight(tokens)
        first, last = tokens_of_places(spans, tf.cast(y, tf.int32))
        inside = (first >= windows.starts) & (last < windows.starts + windows.lengths) & (first <= last)
        begins = self.preprocessor.second_begins(ids) - windows.starts
        # A window without the whole answer points to the first token of all.
        places = tf.where(inside[:, tf.newaxis], tf.stack([first + begins, last + begins], axis=1), 0)
        return keras.utils.pack_x_y_sample_weight(tokens, places, sample_weight)

    # Answers.

    def respond(self, forward: Forward, *texts: tf.Tensor) -> Outputs:
        """Turn questions and contexts, string `(batch,)` each, into answers, with a forward pass of one's choice."""
        spans, best = self._search(forward, *texts)
        found = best.found if self.no_answer is None else best.found & (best.margin <= self.no_answer)
        start = tf.where(found, value_at(spans.starts, best.first), 0)
        end = tf.where(found, value_at(spans.ends, best.last), 0)
        return {
            "answer": substring(texts[1], start, end),
            "start": start,
            "end": end,
            "score": tf.where(found, best.probability, best.none),
        }

    def _search(self, forward: Forward, question: tf.Tensor, context: tf.Tensor) -> tuple[TokenSpans, BestSpans]:
        ids, spans = self._tokenize(question, context)
        windows = cut_windows(*self._sizes(ids, spans))
        repeated = tf.gather(ids, windows.rows)
        logits = forward(self.preprocessor.pack(repeated, select(windows, spans.ids)))  # (windows, sequence, 2)
        begins = self.preprocessor.second_begins(repeated)
        is_context = self._is_context(windows, begins, spans, tf.shape(logits)[1])
        rows = tf.size(question)
        return spans, best_spans(tf.cast(logits, tf.float32), is_context, begins, windows, rows, self.longest_answer)

    def _is_context(self, windows: Windows, begins: tf.Tensor, spans: TokenSpans, width: tf.Tensor) -> tf.Tensor:
        """Whether each token is one of the context that stands for text: bool `(windows, width)`."""
        has_text = select(windows, spans.starts.with_flat_values(spans.starts.flat_values < spans.ends.flat_values))
        before = tf.RaggedTensor.from_row_lengths(tf.zeros([tf.reduce_sum(begins)], tf.bool), tf.cast(begins, tf.int64))
        flags = tf.concat([before, has_text], axis=1).to_tensor()
        return tf.pad(flags, [[0, 0], [0, width - tf.shape(flags)[1]]])

    def _tokenize(self, question: tf.Tensor, context: tf.Tensor) -> tuple[tf.RaggedTensor, TokenSpans]:
        """Return the question's ids, cut where it is too long, and the whole context's tokens with their places."""
        room = self.preprocessor.room(pairs=True)
        most = min(self.longest_question, max(room - _FEWEST_CONTEXT_TOKENS, room // 2))
        return self.preprocessor.locate_tokens(question).ids[:, :most], self.preprocessor.locate_tokens(context)

    def _sizes(self, question: tf.RaggedTensor, spans: TokenSpans) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the tokens of each context, how many a window takes, and how many two windows have in common."""
        room = self.preprocessor.room(pairs=True) - tf.cast(question.row_lengths(), tf.int32)
        return tf.cast(spans.ids.row_lengths(), tf.int32), room, tf.minimum(self.overlap, room // 2)

    def tune_no_answer(self, data: TextDataset, *, batch_size: int = 32) -> float:
        """Choose the threshold of no answer that gives the best F1 on rows of which some have no answer.

        Args:
            data: the rows, not those of training.
            batch_size: questions a step.

        Returns:
            The threshold, which is also set as `no_answer`.

        Raises:
            DataError: the rows have no answers to compare with.

        Reference:
            Rajpurkar et al., 2018, "Know what you don't know", the official script's search for the best threshold.
        """
        expected = data.targets_of("answers")
        self._set_no_answer(None)
        found = self.predict_text(data.texts, batch_size=batch_size)
        search = tf.function(self.no_answer_margins, reduce_retracing=True, autograph=False)
        columns = [data.frame[name].tolist() for name in (data.text, data.text_pair)]
        batches = [slice(at, at + batch_size) for at in range(0, len(found), batch_size)]
        margins = np.concatenate([search(*(tf.constant(column[at]) for column in columns)).numpy() for at in batches])
        pairs = zip(columns[1], expected, strict=True)
        right = [[context[start:end] for start, end in spans] for context, spans in pairs]
        threshold = best_threshold([answer.answer for answer in found], right, margins)
        self._set_no_answer(threshold)
        return threshold

    def no_answer_margins(self, question: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        """Return by how much the score of no answer is over that of the best span, float32 `(batch,)`."""
        return self._search(self._forward, question, context)[1].margin

    def _set_no_answer(self, threshold: float | None) -> None:
        self.no_answer = threshold
        self.forget_traces()  # they were made with the threshold before
