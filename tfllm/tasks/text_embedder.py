"""A text as a vector: the `TextEmbedder`."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfllm.data.cleaning import TextCleaner
from tfllm.data.pipeline import TrainingRows, row_columns, token_lengths
from tfllm.data.schema import TextDataset
from tfllm.errors import DataError
from tfllm.tasks.base import Task
from tfllm.tasks.embedding_loss import EmbeddingLoss, normalized, require_dim
from tfllm.tasks.embedding_rows import check_rows, encode_rows, require_text_kind, text_numbers
from tfllm.tasks.heads import Head, initializer, pool_tokens
from tfllm.tasks.loading import TASK_FILE
from tfllm.tasks.preprocessing import TextPreprocessor, Tokens
from tfllm.tasks.sentence_transformers import published_settings
from tfllm.tasks.signature import Forward, Outputs, Signature, of_texts


@keras.saving.register_keras_serializable("tfllm")
class TextEmbedder(Task):
    """Embeds texts with any encoder of the BERT family, so that texts of like meaning are near each other.

    The vector of a text is pooled from its tokens (Reimers and Gurevych, 2019, "Sentence-BERT", section 3), goes
    through the dense layers if there are any, is cut to `dim`, and gets length 1.

    A preset that is a published embedder, and a folder that sentence-transformers wrote, bring their own settings.

    Args:
        backbone: a KerasHub backbone of the BERT family.
        preprocessor: how strings become tokens.
        pooling: "mean" of all tokens, "cls" token, or "max" of all tokens.
        projection: the size of a linear layer after pooling, or a list of layers as `{"units", "activation",
            "use_bias"}`, or None.
        dim: the numbers of a vector to keep, the first ones; all of them without it. Train with
            `EmbeddingLoss(dims=...)` to lose little by it (Kusupati et al., 2022).
        normalize: whether vectors get length 1.
        query_prefix: what goes before a text that asks.
        document_prefix: what goes before a text that may be found; the exported `serving_default` puts it too.
        objective: how to train; an `EmbeddingLoss`.

    Raises:
        ConfigError: there is no such pooling, or no such `dim`.

    The model maps tokens to vectors before cutting and normalising, float `(batch, size)`.

    Example:
        >>> model = TextEmbedder.from_preset("micro_bert", dim=4)
        >>> model.encode_text(["good film", "bad food"]).shape
        (2, 4)
        >>> model.similarity(["good film"], ["good film"]).round(3).tolist()
        [[1.0]]
    """

    label_kind = "value"
    training_settings = ("pooling", "dim", "normalize", "query_prefix", "document_prefix", "objective")

    def __init__(
        self,
        backbone: keras_hub.models.Backbone,
        preprocessor: TextPreprocessor,
        *,
        pooling: str = "mean",
        projection: int | Sequence[dict[str, Any]] | None = None,
        dim: int | None = None,
        normalize: bool = True,
        query_prefix: str = "",
        document_prefix: str = "",
        objective: EmbeddingLoss | dict[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        # === Layers ===
        linear = [{"units": projection, "activation": "linear", "use_bias": True}]
        dense = linear if isinstance(projection, int) else [dict(layer) for layer in projection or ()]
        layers = tuple(
            keras.layers.Dense(**layer, kernel_initializer=initializer(), name=f"projection_{number}")
            for number, layer in enumerate(dense)
        )

        # === Functional Model ===
        outputs = pool_tokens(backbone, pooling)  # (batch, hidden)
        for layer in layers:
            outputs = layer(outputs)  # (batch, size)
        super().__init__(inputs=backbone.input, outputs=outputs, name=name or "text_embedder", compile=False)

        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.head = Head(pooling, layers)
        self.pooling, self.projection, self.normalize = pooling, dense, normalize
        self.query_prefix, self.document_prefix = query_prefix, document_prefix
        self.objective = EmbeddingLoss(**objective) if isinstance(objective, dict) else objective or EmbeddingLoss()
        self.dim = outputs.shape[-1] if dim is None else dim
        for size in (self.dim, *self.objective.dims):
            require_dim(size, outputs.shape[-1])
        self.compile()

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike[str],
        *,
        max_length: int | None = None,
        cleaner: TextCleaner | None = None,
        load_weights: bool = True,
        **head: Any,
    ) -> "TextEmbedder":
        """Make an embedder from a preset, a folder of sentence-transformers, or one that `save_to_preset` wrote.

        Args:
            preset: a preset name, an address (`kaggle://`, `hf://`, `gs://`), or a local folder.
            max_length: the most tokens of a text, special tokens included; by default what the preset's makers say or
                what was saved, else 128.
            cleaner: how texts are cleaned, in training and when served.
            load_weights: False leaves random weights.
            **head: further arguments of `TextEmbedder`; they go before the settings of the preset.

        Raises:
            PresetError: the preset cannot be loaded, or uses modules that tfllm does not have.
        """
        options: dict[str, Any] = {"cleaner": cleaner, "load_weights": load_weights}
        if os.path.isfile(os.path.join(preset, TASK_FILE)):
            return super().from_preset(preset, max_length=max_length, **options, **head)
        found = published_settings(preset)
        settings = {**found.head, **head}
        model = super().from_preset(found.encoder, max_length=max_length or found.max_length, **options, **settings)
        if load_weights and "projection" not in head:
            for layer, weights in zip(model.head.layers, found.projection_weights, strict=True):
                layer.set_weights(weights)
        model.preset = os.fspath(preset)
        return model

    def compile(self, optimizer: Any = "auto", **kwargs: Any) -> None:
        """Configure training, with a default: Adam at 2e-5. The loss is that of `objective`.

        Args:
            optimizer: as in Keras, or "auto".
            **kwargs: as in `keras.Model.compile`.
        """
        super().compile(optimizer=keras.optimizers.Adam(2e-5) if optimizer == "auto" else optimizer, **kwargs)

    # Training: the texts of a row side by side, all of a batch in one pass of the encoder.

    @classmethod
    def head_of(cls, data: TextDataset) -> dict[str, Any]:
        """Return what training rows say of the head: nothing."""
        return {}

    def serves_pairs(self, data: TextDataset) -> bool:
        """Whether it answers for pairs of texts: never, whatever it was trained on."""
        return False

    def encode_labels(self, data: TextDataset) -> np.ndarray:
        """Return the similarity of each pair, float32 `(rows,)`; `(rows, 0)` for rows without.

        Raises:
            DataError: the rows do not fit the objective.
        """
        return check_rows(data, self.objective.kind)

    def training_rows(self, data: TextDataset) -> TrainingRows:
        """Return what training goes through: two or three texts a row, or pairs with their similarity."""
        targets, columns = self.encode_labels(data), row_columns(data)
        lengths = [token_lengths([column], self.preprocess) for column in columns]
        return TrainingRows(columns, targets, np.max(lengths, axis=0))

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Turn rows of texts into tokens, the texts of a row one after the other; called by Keras in `tf.data`."""
        if not isinstance(x, tuple | list):
            return keras.utils.pack_x_y_sample_weight(self.preprocess(x), y, sample_weight)
        has_values = y is not None and len(y.shape) == 1
        first = self.document_prefix if has_values else self.query_prefix
        texts = tf.stack([first + x[0], *(self.document_prefix + text for text in x[1:])], axis=1)  # (rows, texts)
        tokens = self.preprocessor(tf.reshape(texts, [-1]))  # (rows * texts, sequence)
        goal = tf.cast(y, tf.float32) if has_values else text_numbers(texts)
        return keras.utils.pack_x_y_sample_weight(tokens, goal, sample_weight)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        """Return the loss of a batch; called by Keras."""
        has_values = len(y.shape) == 1
        count = 2 if has_values else y.shape[1]
        vectors = tf.reshape(y_pred, [-1, count, y_pred.shape[-1]])  # (rows, texts, size)
        losses = self.objective.losses(vectors, texts=None if has_values else y, values=y if has_values else None)
        mean = tf.reduce_mean(losses if sample_weight is None else losses * sample_weight)
        return mean / self.distribute_strategy.num_replicas_in_sync  # as Keras does with its own losses

    # Answers.

    def head_config(self) -> dict[str, Any]:
        """Return the constructor's own arguments as plain data."""
        names = ("pooling", "projection", "dim", "normalize", "query_prefix", "document_prefix")
        objective = {**asdict(self.objective), "dims": list(self.objective.dims)}
        return {**{name: getattr(self, name) for name in names}, "objective": objective}

    def answer_specs(self) -> dict[str, tf.TensorSpec]:
        """Return name -> spec of the answers."""
        return {"embedding": tf.TensorSpec([None, self.dim], tf.float32, "embedding")}

    def postprocess(self, outputs: tf.Tensor) -> Outputs:
        """Cut vectors `(batch, size)` to `dim`, and give them length 1."""
        cut = tf.cast(outputs, tf.float32)[:, : self.dim]
        return {"embedding": normalized(cut) if self.normalize else cut}

    def input_names(self, *, pairs: bool) -> tuple[str, ...]:
        """Return the name of the text input.

        Raises:
            DataError: pairs are asked for.
        """
        if pairs:
            raise DataError("Expected single texts, since each has its own embedding. Received: pairs of texts.")
        return ("text",)

    def preprocess(self, text: tf.Tensor) -> Tokens:
        """Turn documents, strings `(batch,)`, into token tensors `(batch, sequence)`."""
        return self.preprocessor(self.document_prefix + tf.convert_to_tensor(text, tf.string))

    def answer_queries(self, text: tf.Tensor, forward: Forward | None = None) -> Outputs:
        """Turn texts that ask, strings `(batch,)`, into answers, in TensorFlow."""
        tokens = self.preprocessor(self.query_prefix + tf.convert_to_tensor(text, tf.string))
        return self.postprocess((forward or self._forward)(tokens))

    def signatures(self, *, pairs: bool = False, forward: Forward | None = None) -> dict[str, Signature]:
        """Return the signatures of the exported model; where queries have a prefix of their own, `query` too."""
        signatures = super().signatures(pairs=pairs, forward=forward)
        if self.query_prefix != self.document_prefix:
            signatures["query"] = of_texts(
                ("text",), self.answer_specs(), lambda text: self.answer_queries(text, forward)
            )
        return signatures

    def encode_text(
        self,
        texts: str | Sequence[str],
        kind: str = "document",
        *,
        batch_size: int = 32,
        dim: int | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Embed texts.

        Args:
            texts: one text, or several. Texts of like length go together.
            kind: "document" or "query": which prefix goes before each.
            batch_size: texts a step.
            dim: the first numbers of a vector to keep, and to normalise anew; all of them without it.
            progress: show a bar on standard error.

        Returns:
            float32 `(texts, dim)`, in the order of the texts; `(dim,)` for one text.

        Raises:
            DataError: something is not a text.
            ConfigError: there is no such kind, or `dim` is out of range.
        """
        require_text_kind(kind)
        if dim is not None:
            require_dim(dim, self.dim)
        single = isinstance(texts, str | bytes)
        answer = self._compiled_answer(1) if kind == "document" else self._compiled_query()
        vectors = encode_rows(answer, [texts] if single else texts, batch_size, progress).reshape(-1, self.dim)
        if dim is not None:
            vectors = normalized(vectors[:, :dim]).numpy() if self.normalize else vectors[:, :dim]
        return vectors[0] if single else vectors

    def forget_traces(self) -> None:
        """Trace the answers anew at the next call, those to queries too."""
        super().forget_traces()
        if hasattr(self, "_query_function"):
            del self._query_function

    def _compiled_query(self) -> Any:
        if not hasattr(self, "_query_function"):
            text = tf.TensorSpec([None], tf.string)
            self._query_function = (tf.function(self.answer_queries, [text], autograph=False),)
        return self._query_function[0]

    def similarity(self, a: Sequence[str] | np.ndarray, b: Sequence[str] | np.ndarray) -> np.ndarray:
        """Return the cosine similarity of each of `a` with each of `b`.

        Args:
            a: texts, or embeddings `(texts, dim)`.
            b: the same; texts are embedded as documents.

        Returns:
            float32 `(texts of a, texts of b)`, -1 to 1.
        """
        first, second = (v if isinstance(v, np.ndarray) else self.encode_text(list(v)) for v in (a, b))
        return normalized(first).numpy() @ normalized(second).numpy().T
