"""What may stand in place of a mask: the `MaskedLM`, which is also how encoders are pre-trained."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfllm.data.cleaning import TextCleaner
from tfllm.data.pipeline import TrainingRows, row_columns, token_lengths
from tfllm.data.schema import TextDataset
from tfllm.data.vocabulary import read_vocabulary
from tfllm.encoders import new_encoder
from tfllm.errors import ConfigError, DataError
from tfllm.tasks.base import Task
from tfllm.tasks.loading import make_preprocessor
from tfllm.tasks.masked_head import masked_outputs
from tfllm.tasks.masking import Masking
from tfllm.tasks.preprocessing import TextPreprocessor, Tokens
from tfllm.tasks.signature import Forward, Outputs, Signature
from tfllm.tasks.token_accuracy import TokenAccuracy
from tfllm.tasks.token_names import token_names, word_beginnings

MASK = "[MASK]"
"""The mask in a text, whatever the tokenizer of the family calls it."""


_MEAN = "mean_with_sample_weight"


def _each(names: Sequence[str] | None, make: Callable[[], Any]) -> Any:
    """Return one of what is made for the one output, or one for each of several."""
    return make() if names is None else {name: make() for name in names}


@keras.saving.register_keras_serializable("tfllm")
class MaskedLM(Task):
    """Says what may stand at each `[MASK]` of a text, and learns that from raw text, with any encoder of the family.

    A dense layer with GELU and a layer norm come after the encoder, then a product with its own table of embeddings
    (Devlin et al., 2019, "BERT", section 3.1; Press and Wolf, 2017). `tfllm.pretrain` trains it; what it has learned is
    a preset for every other task once it is saved: `TextClassifier.from_preset(folder, labels=...)`.

    Args:
        backbone: a KerasHub backbone of the BERT family.
        preprocessor: how strings become tokens.
        top_k: how many candidates to give for a mask.
        mask_rate: the share of tokens that are masked in training.
        whole_words: whether all tokens of a word are masked together.
        sentence_head: what `tfllm.pretrain` teaches beside the masks, with the first token: "next" (whether a piece of
            text follows another), "order" (whether two pieces are in their order), or None.

    Raises:
        ConfigError: the numbers are out of range, or the cleaner changes `[MASK]`.

    The model maps tokens and `mask_positions`, int32 `(batch, masks)`, to logits, float32 `(batch, masks, vocabulary)`;
    with a sentence head to `tokens`, those logits, and `pairs`, float32 `(batch, 2)`.

    Example:
        >>> model = MaskedLM.from_preset("micro_bert", top_k=3)
        >>> masks = model.predict_text("the [MASK] was [MASK]")
        >>> [len(mask.tokens) for mask in masks]
        [3, 3]
    """

    training_settings = ("top_k", "mask_rate", "whole_words")
    asked_word = MASK

    def __init__(
        self,
        backbone: keras_hub.models.Backbone,
        preprocessor: TextPreprocessor,
        *,
        top_k: int = 5,
        mask_rate: float = 0.15,
        whole_words: bool = True,
        sentence_head: str | None = None,
        name: str | None = None,
    ) -> None:
        # === Functional Model ===
        positions = keras.Input((None,), dtype="int32", name="mask_positions")
        outputs = masked_outputs(backbone, positions, sentence_head)
        inputs = {**backbone.input, "mask_positions": positions}
        super().__init__(inputs=inputs, outputs=outputs, name=name or "masked_lm", compile=False)

        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.top_k, self.mask_rate, self.whole_words = top_k, mask_rate, whole_words
        self.sentence_head = sentence_head
        tokenizer = preprocessor.tokenizer
        self.token_names = tuple(token_names(tokenizer))
        if not 1 <= top_k <= len(self.token_names):
            raise ConfigError(f"Expected top_k of 1 to {len(self.token_names)}. Received: top_k={top_k}.")
        self._own_mask = str(tokenizer.id_to_token(tokenizer.mask_token_id))
        preprocessor.add_tokens([MASK], first_id=tokenizer.mask_token_id)
        special = (tokenizer.pad_token_id, tokenizer.start_token_id, tokenizer.end_token_id, tokenizer.mask_token_id)
        self.masking = Masking(
            tuple(word_beginnings(tokenizer)), special, tokenizer.mask_token_id, mask_rate, whole_words
        )
        self.compile()

    @classmethod
    def from_scratch(
        cls,
        vocabulary: str | os.PathLike[str] | Sequence[str],
        *,
        lowercase: bool = True,
        family: str = "bert",
        layers: int = 4,
        width: int = 256,
        heads: int = 4,
        max_length: int = 128,
        dropout: float = 0.1,
        cleaner: TextCleaner | None = None,
        **head: Any,
    ) -> "MaskedLM":
        """Make a model with a new encoder, whose weights are random.

        Args:
            vocabulary: a `vocab.txt`, or the tokens that `train_vocabulary` returned.
            lowercase: what `train_vocabulary` was told.
            family: "bert", "distil_bert" or "electra".
            layers: how many transformer layers.
            width: the size of a token's vector.
            heads: attention heads.
            max_length: the most tokens of a row, in pre-training and after.
            dropout: the dropout rate of the encoder.
            cleaner: how texts are cleaned, in training and when served.
            **head: further arguments of `MaskedLM`.

        Raises:
            ConfigError: see `tfllm.encoders.new_encoder`.
            DataError: the vocabulary cannot be read.
        """
        tokens = read_vocabulary(vocabulary) if isinstance(vocabulary, str | os.PathLike) else vocabulary
        encoder = new_encoder(
            tokens,
            lowercase=lowercase,
            family=family,
            layers=layers,
            width=width,
            heads=heads,
            max_length=max_length,
            dropout=dropout,
        )
        return cls(encoder.backbone, make_preprocessor(encoder, max_length, cleaner), **head)

    def compile(self, optimizer: Any = "auto", loss: Any = "auto", *, metrics: Any = "auto", **kwargs: Any) -> None:
        """Configure training, with defaults: Adam at 1e-4, cross-entropy and accuracy over the masks.

        Args:
            optimizer: as in Keras, or "auto".
            loss: as in Keras, or "auto".
            metrics: as in Keras, or "auto"; weighted, since rows have different numbers of masks.
            **kwargs: as in `keras.Model.compile`.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(1e-4)
        names = None if self.sentence_head is None else ("tokens", "pairs")
        if loss == "auto":
            loss = _each(names, lambda: keras.losses.SparseCategoricalCrossentropy(True, reduction=_MEAN))
        if metrics == "auto":
            metrics = _each(names, lambda: [TokenAccuracy(name="accuracy")])
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=metrics, **kwargs)

    # Training on rows of texts; `tfllm.pretrain` reads a corpus instead.

    @classmethod
    def head_of(cls, data: TextDataset) -> dict[str, Any]:
        """Return what training rows say of the head: nothing."""
        return {}

    def serves_pairs(self, data: TextDataset) -> bool:
        """Whether it answers for pairs of texts: never."""
        return False

    def encode_labels(self, data: TextDataset) -> np.ndarray:
        """Return the number of each row, int64 `(rows,)`: the seed of its masks, which are the same in each epoch."""
        return np.arange(len(data), dtype=np.int64)

    def training_rows(self, data: TextDataset) -> TrainingRows:
        """Return what training goes through: the texts, whose labels do not count.

        Raises:
            ConfigError: there is a sentence head, which learns from a corpus.
        """
        if self.sentence_head is not None:
            raise ConfigError(
                "Expected a model without a sentence_head for rows of texts. Train it with tfllm.pretrain."
            )
        columns = row_columns(data)[:1]
        return TrainingRows(columns, self.encode_labels(data), token_lengths(columns, self.preprocess))

    def loss_weight(self, count: tf.Tensor, y: Any, sample_weight: Any) -> tf.Tensor:
        """Return how many masks a batch has, since its loss is the mean over masks; float32 scalar."""
        return tf.reduce_sum(sample_weight if self.sentence_head is None else sample_weight["tokens"])

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Turn texts and the numbers of their rows into masked tokens, what stood there, and weights."""
        if y is None:
            return keras.utils.pack_x_y_sample_weight(self.preprocess(x))
        number = tf.reshape(tf.cast(y, tf.int64), [-1])
        seeds = tf.stack([tf.zeros_like(number), number], axis=1)
        tokens, labels, weights = self.masking(self.preprocessor(x), seeds)
        if sample_weight is not None:
            weights *= tf.cast(sample_weight, tf.float32)[:, tf.newaxis]
        return tokens, labels, weights

    # Answers.

    def input_names(self, *, pairs: bool) -> tuple[str, ...]:
        """Return the name of the text input.

        Raises:
            DataError: pairs are asked for.
        """
        if pairs:
            raise DataError("Expected single texts with [MASK]. Received: pairs of texts.")
        return ("text",)

    def preprocess(self, text: tf.Tensor) -> Tokens:
        """Turn strings `(batch,)` into token tensors `(batch, sequence)`, and `mask_positions` `(batch, masks)`.

        A row with fewer masks than another has zeros at the end.
        """
        text = tf.convert_to_tensor(text, tf.string)
        if self._own_mask != MASK:  # whose mask takes the space before it, as the space before a word is its own
            text = tf.strings.regex_replace(text, re.escape(self._own_mask), MASK)
            text = tf.strings.regex_replace(text, r"\s+" + re.escape(MASK), MASK)
        tokens = self.preprocessor(text)
        is_mask = tokens["token_ids"] == self.masking.mask_id
        counts = tf.reduce_sum(tf.cast(is_mask, tf.int32), axis=1)
        order = tf.argsort(tf.where(is_mask, 0, 1), axis=1, stable=True)[:, : tf.reduce_max(counts)]
        return {**tokens, "mask_positions": tf.where(tf.sequence_mask(counts, tf.shape(order)[1]), order, 0)}

    def respond(self, forward: Forward, *texts: tf.Tensor) -> Outputs:
        """Turn texts, string `(batch,)`, into candidates, with a forward pass of the caller's choice."""
        (text,) = texts
        tokens = self.preprocess(text)
        logits = tf.cast(forward(tokens), tf.float32)[..., : len(self.token_names)]  # (batch, masks, vocabulary)
        scores, ids = tf.math.top_k(tf.nn.softmax(logits), self.top_k)  # (batch, masks, k)
        real = tokens["mask_positions"][..., tf.newaxis] > 0
        names = tf.gather(tf.constant(self.token_names), ids)
        return {"token": tf.where(real, names, ""), "score": tf.where(real, scores, 0.0)}

    def _forward(self, tokens: Tokens) -> tf.Tensor:
        outputs = self(tokens, training=False)
        return outputs if self.sentence_head is None else outputs["tokens"]

    @property
    def logits_shape(self) -> tuple[int | None, ...]:
        """The shape of the logits of masks."""
        shape: tuple[int | None, ...] = (self.output if self.sentence_head is None else self.output["tokens"]).shape
        return shape

    def head_config(self) -> dict[str, Any]:
        """Return the constructor's own arguments as plain data."""
        return {name: getattr(self, name) for name in ("top_k", "mask_rate", "whole_words", "sentence_head")}

    def answer_specs(self) -> dict[str, tf.TensorSpec]:
        """Return name -> spec of the answers; a row with fewer masks than another has empty tokens at the end."""
        shape = [None, None, self.top_k]
        return {"token": tf.TensorSpec(shape, tf.string, "token"), "score": tf.TensorSpec(shape, tf.float32, "score")}

    def signatures(self, *, pairs: bool = False, forward: Forward | None = None) -> dict[str, Signature]:
        """Return the signatures of the exported model; `tokens` takes `mask_positions` too."""
        found = super().signatures(pairs=pairs, forward=forward)
        tokens = found["tokens"]
        inputs = {**tokens.inputs, "mask_positions": tf.TensorSpec([None, None], tf.int32, "mask_positions")}
        return {**found, "tokens": replace(tokens, inputs=inputs)}
