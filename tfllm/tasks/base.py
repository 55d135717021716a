"""What all tasks share: an encoder, its preprocessing, answers from text, signatures, saving and loading."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfllm.data.cleaning import TextCleaner
from tfllm.data.pipeline import TrainingRows, row_columns, token_lengths
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, CorruptWeights
from tfllm.outputs import results_from_outputs
from tfllm.presets import load_encoder
from tfllm.results import Result
from tfllm.tasks.heads import Head
from tfllm.tasks.loading import TASK_FILE, make_preprocessor, read_saved, same_head
from tfllm.tasks.preprocessing import TextPreprocessor, Tokens
from tfllm.tasks.rows import as_rows, same_width
from tfllm.tasks.signature import Forward, Outputs, Signature, of_texts, of_tokens

TASK_WEIGHTS_FILE = "task.weights.h5"

Texts = Sequence[str | bytes] | Sequence[tuple[str | bytes, str | bytes]]


class Task(keras_hub.models.Task):
    """Base of all tasks: a KerasHub task for every encoder of the BERT family.

    A subclass builds its head in the constructor and says what it is: `head` (the layers after the encoder),
    `postprocess` (head outputs to answers, in TensorFlow), `head_config` (what its constructor needs, as plain data),
    `answer_specs` and `encode_labels`. Where a text is more than one row of tokens, or an answer needs the text, it
    says `respond` (texts to answers) and `training_rows` too.

    `fit`, `evaluate` and `predict` are those of Keras and take raw strings; `predict_text` gives typed results, the
    same that `tfllm.Client.predict` gives.
    """

    preprocessor: TextPreprocessor
    monitor: tuple[str, str] = ("val_loss", "min")
    """The quantity that says which epoch is the best one, and whether more or less of it is better."""
    preset: str | None = None
    """What `from_preset` loaded."""
    pairs: bool = False
    """Whether it was trained on pairs of texts."""
    training_settings: tuple[str, ...] = ("dropout",)
    """The names in `head_config` that may change without a change of the weights."""
    default_length = 128
    """The most tokens of a row, where nothing else is said."""
    label_kind: str = "label"
    """What its training rows are labelled with, one of `tfllm.data.targets.LABEL_KINDS`."""
    tokens_have_targets: bool = False
    """Whether targets and weights of training are one for each token, `(batch, sequence)`."""
    disagreement: Callable[..., tf.Tensor] | None = None
    """How far the classes of two forward passes are apart; None for a task without classes."""
    asked_word: str | None = None
    """The word that asks, without which a text asks for nothing."""
    answer_scale: float = 1.0
    """What counts as a difference of 1 between answers that are numbers, in their own units."""
    head: Head
    """The layers between the encoder and the outputs, as data: an exported graph may run them in its own way."""

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike[str],
        *,
        max_length: int | None = None,
        cleaner: TextCleaner | None = None,
        load_weights: bool = True,
        **head: Any,
    ) -> "Task":
        """Make a task from a preset, or load one that `save_to_preset` wrote.

        A saved task needs no further argument. With other labels (or another head) it starts from the saved encoder,
        cleaning and length, with a new last layer.

        Args:
            preset: a preset name, an address (`kaggle://`, `hf://`, `gs://`), or a local folder.
            max_length: the most tokens of a text (or of a window, where a task reads long texts in parts), special
                tokens included; by default what was saved, or `default_length`; at most what the backbone takes.
            cleaner: how texts are cleaned, in training and when served.
            load_weights: False leaves random weights.
            **head: what the task's own constructor takes, such as `labels`.

        Raises:
            PresetError: the preset cannot be loaded.
        """
        saved = read_saved(Path(preset), cls.__name__)
        encoder = load_encoder(preset, load_weights=load_weights)
        if saved is None:
            task = cls(encoder.backbone, make_preprocessor(encoder, max_length or cls.default_length, cleaner), **head)
        else:
            cleaner = cleaner or TextCleaner.from_config(saved["cleaner"])
            preprocessor = make_preprocessor(encoder, max_length or saved["max_length"], cleaner)
            known = saved["head"]
            task = cls(encoder.backbone, preprocessor, **(head if known is None else cls.merge_heads(known, head)))
            task.pairs = saved["pairs"]
            if (
                known is not None
                and load_weights
                and same_head(task.head_config(), saved["head"], cls.training_settings)
            ):
                task._load_head(Path(preset))
        task.preset = os.fspath(preset)
        return task

    def _load_head(self, folder: Path) -> None:
        try:
            keras.saving.load_weights(self, str(folder / TASK_WEIGHTS_FILE), objects_to_skip=self._not_in_the_head())
        except (OSError, ValueError) as error:
            raise CorruptWeights(f"Expected the weights of a {type(self).__name__} in '{folder}'. {error}") from error

    def save_to_preset(self, preset_dir: str | os.PathLike[str]) -> None:
        """Save the whole task to a folder that `from_preset` loads; KerasHub can load its backbone and tokenizer."""
        folder = Path(preset_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.backbone.save_to_preset(str(folder))
        self.preprocessor.tokenizer.save_to_preset(str(folder))
        keras.saving.save_weights(self, str(folder / TASK_WEIGHTS_FILE), objects_to_skip=self._not_in_the_head())
        config = {
            "task": type(self).__name__,
            "pairs": self.pairs,
            "max_length": self.preprocessor.max_length,
            "cleaner": self.preprocessor.cleaner.get_config(),
            "head": self.head_config(),
        }
        (folder / TASK_FILE).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")

    def _not_in_the_head(self) -> list[Any]:
        return [*self.backbone._flatten_layers(), *filter(None, [self.optimizer])]

    @classmethod
    def head_of(cls, data: TextDataset) -> dict[str, Any]:
        """Return the constructor's arguments that training rows say, such as the labels."""
        raise NotImplementedError

    def head_config(self) -> dict[str, Any]:
        """Return the constructor's own arguments as plain data."""
        raise NotImplementedError

    def answer_specs(self) -> dict[str, tf.TensorSpec]:
        """Return name -> spec of the answers that `postprocess` gives."""
        raise NotImplementedError

    @classmethod
    def merge_heads(cls, saved: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """Return the constructor's arguments for a saved head with some others given."""
        return {**saved, **given}

    def encode_labels(self, data: TextDataset) -> np.ndarray:
        """Return what the model learns from: one target a row."""
        raise NotImplementedError

    def postprocess(self, outputs: tf.Tensor) -> Outputs:
        """Turn head outputs into answers, in TensorFlow."""
        raise NotImplementedError

    def input_names(self, *, pairs: bool) -> tuple[str, ...]:
        """Return the names of the text inputs, in the order in which `preprocess` and `respond` take them."""
        return ("text", "text_pair") if pairs else ("text",)

    def serves_pairs(self, data: TextDataset) -> bool:
        """Whether a model trained on these rows answers for pairs of texts."""
        return data.text_pair is not None

    def training_rows(self, data: TextDataset) -> TrainingRows:
        """Return what training and evaluation go through, row by row.

        The batches made of it reach `preprocess_samples` as `(columns, targets, weights)`.
        """
        columns = row_columns(data)
        return TrainingRows(columns, self.encode_labels(data), token_lengths(columns, self.preprocess))

    def loss_weight(self, count: tf.Tensor, y: Any, sample_weight: Any) -> tf.Tensor:
        """Return how much a batch's loss counts beside the losses of other batches of a step, a float32 scalar.

        Args:
            count: how many rows the batch has, int32.
            y: its targets.
            sample_weight: its weights, or None.
        """
        return tf.cast(count, tf.float32)

    # One text, one road: the same functions in tf.data, here, and in the exported graph.

    @tf.autograph.experimental.do_not_convert
    def preprocess(self, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> Tokens:
        """Turn strings `(batch,)` into token tensors `(batch, sequence)`."""
        return self.preprocessor(text if text_pair is None else (text, text_pair))

    def respond(self, forward: Forward, *texts: tf.Tensor) -> Outputs:
        """Turn strings into answers with a forward pass of the caller's choice, in TensorFlow.

        Args:
            forward: tokens -> head outputs; `answer` gives the Keras model's, an exported graph may give its own.
            *texts: string `(batch,)` each, in the order of `input_names`.

        Returns:
            output name -> `(batch, ...)`, as `answer_specs` says.
        """
        return self.postprocess(forward(self.preprocess(*texts)))

    @tf.autograph.experimental.do_not_convert
    def answer(self, *texts: tf.Tensor) -> Outputs:
        """Turn strings `(batch,)` into answers, in TensorFlow."""
        return self.respond(self._forward, *texts)

    def _forward(self, tokens: Tokens) -> tf.Tensor:
        return self(tokens, training=False)

    def predict_text(self, texts: str | Texts, *, batch_size: int = 32) -> Any:
        """Answer for texts.

        Args:
            texts: one text, or several; a pair of texts is a tuple of two within a list.
            batch_size: rows a step. Texts of like length go together, the answers come in the order of the texts.

        Returns:
            One result for one text, a list for several.

        Raises:
            DataError: something is not a text.

        Example:
            >>> from tfllm.tasks.text_classifier import TextClassifier
            >>> model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
            >>> [type(result).__name__ for result in model.predict_text(["fine", "poor"])]
            ['Classification', 'Classification']
        """
        single = isinstance(texts, str | bytes)
        if batch_size < 1:
            raise ConfigError(f"Expected a batch_size of at least 1. Received: {batch_size}.")
        rows = as_rows([texts] if single else texts)
        if not rows:
            return []
        names = self.input_names(pairs=len(rows[0]) == 2)
        texts_by_name = dict(zip(names, zip(*rows, strict=True), strict=True))
        results: list[Result] = results_from_outputs(self._answer_rows(rows, batch_size), texts_by_name)
        return results[0] if single else results

    def _answer_rows(self, rows: list[tuple[bytes, ...]], batch_size: int) -> dict[str, np.ndarray]:
        order = sorted(range(len(rows)), key=lambda row: sum(map(len, rows[row])))
        batches = []
        for start in range(0, len(order), batch_size):
            chosen = [rows[row] for row in order[start : start + batch_size]]
            columns = [tf.constant(list(column), tf.string) for column in zip(*chosen, strict=True)]
            answers = self._compiled_answer(len(columns))(*columns)
            batches.append({name: value.numpy() for name, value in answers.items()})
        back = np.argsort(order)
        return {name: np.concatenate(same_width([batch[name] for batch in batches]))[back] for name in batches[0]}

    def forget_traces(self) -> None:
        """Trace the answers anew at the next call, after a change of what `respond` reads."""
        if hasattr(self, "_answer_functions"):
            del self._answer_functions

    def _compiled_answer(self, texts: int) -> Callable[..., Outputs]:
        if not hasattr(self, "_answer_functions"):
            # Held in a tuple, so that Keras does not track it; one for each number of texts a row, traced but once.
            specs = [[tf.TensorSpec([None], tf.string)] * count for count in (1, 2)]
            self._answer_functions = tuple(tf.function(self.answer, spec, autograph=False) for spec in specs)
        return self._answer_functions[texts - 1]

    def signatures(self, *, pairs: bool = False, forward: Forward | None = None) -> dict[str, Signature]:
        """Return the signatures of the exported model, as data.

        Args:
            pairs: whether `serving_default` takes pairs of texts.
            forward: the forward pass to use, by default the Keras model's.
        """
        run, names = forward or self._forward, self.input_names(pairs=pairs)

        def answer(*texts: tf.Tensor) -> Outputs:
            return self.respond(run, *texts)

        ids = [name for name in ("token_ids", "segment_ids", "padding_mask") if name in self.backbone.input]
        return {
            "serving_default": of_texts(names, self.answer_specs(), answer),
            "tokens": of_tokens(ids, self.logits_shape, run, self.backbone.max_sequence_length),
        }

    @property
    def logits_shape(self) -> tuple[int | None, ...]:
        """The shape of what a forward pass gives."""
        shape: tuple[int | None, ...] = self.output.shape
        return shape

    @property
    def vocabulary_hash(self) -> str:
        """A SHA-256 of the vocabulary, in its order."""
        vocabulary = self.preprocessor.tokenizer.get_vocabulary()
        return hashlib.sha256("\n".join(map(str, vocabulary)).encode("utf-8")).hexdigest()
