"""One vector a token, wherever it stands: `train_static_embeddings` and the `StaticEmbeddings` that it makes."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import Progress

from tfllm.data.corpus import Corpus, CorpusSource
from tfllm.errors import ConfigError, DataError, choices_hint
from tfllm.extras import import_extra
from tfllm.tasks.base import Task
from tfllm.tasks.embedding_rows import require_text_kind
from tfllm.training.token_store import TokenStore, write_stores

METHODS = ("skip_gram", "cbow")
_SENTENCE = 1_000
_TEXTS_A_BATCH = 1_024


@dataclass(frozen=True)
class StaticEmbeddings:
    """The vectors of a vocabulary's tokens, as word2vec learns them.

    Attributes:
        vectors: float32 `(vocabulary, width)`, of mean zero; zeros for a token that does not come often enough.
        counts: how often the corpus has each token, int64 `(vocabulary,)`.
        task: the task whose tokenizer made the tokens.

    Example:
        >>> from tfllm.tasks.masked_lm import MaskedLM
        >>> model = MaskedLM.from_preset("micro_bert")
        >>> texts = ["the film was good", "the food was bad"] * 20
        >>> static = train_static_embeddings(model, texts, min_count=1, progress=False)
        >>> static.encode_text(["good food"]).shape
        (1, 8)
        >>> static.initialize(model)
    """

    vectors: np.ndarray
    counts: np.ndarray
    task: Task

    def encode_text(self, texts: str | Sequence[str], kind: str = "document") -> np.ndarray:
        """Return the mean of the vectors of each text's tokens: a cheap embedding, and a baseline for better ones.

        Args:
            texts: one text, or several.
            kind: "document" or "query", as of a `TextEmbedder`; both are the same here.

        Returns:
            float32 `(texts, width)`, `(width,)` for one text; zeros for a text that has no known token.

        Raises:
            ConfigError: there is no such kind.

        Reference:
            Wieting et al., 2016, "Towards universal paraphrastic sentence embeddings", section 3 (word averaging).
        """
        require_text_kind(kind)
        single = isinstance(texts, str)
        rows = [texts] if single else list(texts)
        found = np.zeros((len(rows), self.vectors.shape[1]), np.float32)
        known = self.vectors.any(axis=1)
        for start in range(0, len(rows), _TEXTS_A_BATCH):
            ids = self.task.preprocessor.tokenize(tf.constant(rows[start : start + _TEXTS_A_BATCH], tf.string))
            flat, owners = ids.flat_values.numpy(), ids.value_rowids().numpy()
            flat, owners = flat[known[flat]], owners[known[flat]]
            sums, sizes = found[start : start + _TEXTS_A_BATCH], np.bincount(owners, minlength=len(found[start:]))
            np.add.at(sums, owners, self.vectors[flat])
            sums /= np.maximum(sizes[: len(sums)], 1)[:, np.newaxis]
        return found[0] if single else found

    def initialize(self, model: Task) -> None:
        """Let the table of token embeddings of a model's encoder begin with these vectors.

        They are scaled to be as long as those of the table are on the average; a token without a vector keeps its own.

        Args:
            model: a task with the same vocabulary, and with embeddings of the same width.

        Raises:
            ConfigError: the vocabulary or the width is another one.
        """
        table = model.backbone.token_embedding.embeddings
        before = keras.ops.convert_to_numpy(table).copy()
        rows, width = self.vectors.shape
        if model.vocabulary_hash != self.task.vocabulary_hash or before.shape[1] != width:
            raise ConfigError(
                f"Expected a model with the vocabulary of these embeddings, {rows} tokens, and a width of {width}. "
                f"Received: {type(model).__name__} with a table of {before.shape[0]} x {before.shape[1]}. "
                "Train the embeddings with this model."
            )
        known = self.vectors.any(axis=1)
        before[:rows][known] = self.vectors[known] * (_mean_length(before) / _mean_length(self.vectors[known]))
        table.assign(before)

    def save(self, file: str | os.PathLike[str]) -> Path:
        """Write vectors and counts to an `.npz` file, which appears whole or not at all."""
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as stream:
            np.savez(stream, vectors=self.vectors, counts=self.counts, vocabulary=self.task.vocabulary_hash)
        partial.replace(path)
        return path

    @classmethod
    def load(cls, file: str | os.PathLike[str], task: Task) -> "StaticEmbeddings":
        """Read what `save` wrote.

        Args:
            file: the file.
            task: a task with the same tokenizer.

        Raises:
            DataError: the file is not there, or its vocabulary is not the task's.
        """
        path = Path(file)
        if not path.is_file():
            raise DataError(f"Expected a file of static embeddings. Received: '{path}', which is not there.")
        with np.load(path) as found:
            if str(found["vocabulary"]) != task.vocabulary_hash:
                raise DataError(f"Expected static embeddings of the task's vocabulary. Received: '{path}' of another.")
            return cls(found["vectors"], found["counts"], task)


def train_static_embeddings(
    task: Task,
    corpus: CorpusSource,
    *,
    method: str = "skip_gram",
    width: int | None = None,
    window: int = 5,
    negative: int = 5,
    min_count: int = 5,
    epochs: int = 5,
    learning_rate: float = 0.025,
    workers: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> StaticEmbeddings:
    """Learn one vector for each token of a task's vocabulary from raw text, by word2vec with negative sampling.

    They give an encoder that is pre-trained from scratch a better beginning than random numbers
    (`StaticEmbeddings.initialize`), and a report something to beat (`tfllm.train_baseline`). The corpus is read and
    tokenized as a stream, to a temporary file. Needs `pip install 'tfllm[static]'` (gensim).

    Args:
        task: the task whose tokenizer makes the tokens.
        corpus: a folder of `.txt` files, one file, a list of files, or texts; see `tfllm.data.corpus.Corpus`.
        method: "skip_gram" (a token predicts its neighbours) or "cbow" (they predict it).
        width: the size of a vector; by default that of the encoder's table.
        window: how many tokens to each side are neighbours, at most.
        negative: how many tokens are drawn against each that is there.
        min_count: how often a token must come to get a vector.
        epochs: passes over the corpus.
        learning_rate: the first learning rate; it falls linearly to 0.0001.
        workers: threads; with more than one, two runs differ.
        seed: fixes the vectors, with one worker.
        progress: show a bar on standard error.

    Returns:
        The embeddings.

    Raises:
        ConfigError: there is no such method, a number is out of range, no token comes `min_count` times, or gensim is
            not installed.
        DataError: the corpus cannot be read.
        EmptyDataset: the corpus has no tokens.

    Reference:
        Mikolov et al., 2013, "Distributed representations of words and phrases and their compositionality", section 2.
        The mean of all vectors, which says nothing of a token, is taken off: Mu and Viswanath, 2018, "All-but-the-top".

    Example:
        >>> from tfllm.tasks.masked_lm import MaskedLM
        >>> texts = ["the film was good", "the food was bad"] * 20
        >>> static = train_static_embeddings(MaskedLM.from_preset("micro_bert"), texts, method="cbow", progress=False)
        >>> static.vectors.shape[1]
        8
    """
    width = task.backbone.token_embedding.embeddings.shape[1] if width is None else width
    counts_given = {"window": window, "negative": negative, "min_count": min_count, "epochs": epochs}
    _check(method, learning_rate, width=width, workers=workers, **counts_given)
    word2vec = import_extra("gensim.models.word2vec", "static").Word2Vec(
        vector_size=width,
        window=window,
        negative=negative,
        min_count=min_count,
        alpha=learning_rate,
        sg=int(method == "skip_gram"),
        workers=workers,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True), disable=not progress) as bar:
        store, separator = _store(task, corpus, Path(folder))
        counts = _counts(store, separator, rows=len(task.preprocessor.tokenizer.get_vocabulary()))
        _learn(word2vec, _Sentences(store, separator, bar, epochs), counts, epochs)
    vectors = np.zeros((len(counts), width), np.float32)
    vectors[word2vec.wv.index_to_key] = word2vec.wv.vectors - word2vec.wv.vectors.mean(axis=0)
    return StaticEmbeddings(vectors, counts, task)


def _check(method: str, learning_rate: float, **at_least_one: int) -> None:
    if method not in METHODS:
        raise ConfigError(f"Expected a method. Received: method={method!r}. {choices_hint(method, METHODS)}")
    for name, value in at_least_one.items():
        if value < 1:
            raise ConfigError(f"Expected {name} of at least 1. Received: {name}={value}.")
    if not learning_rate > 0:
        raise ConfigError(f"Expected a learning_rate over 0. Received: learning_rate={learning_rate}.")


def _store(task: Task, corpus: CorpusSource, folder: Path) -> tuple[TokenStore, int]:
    separator = int(task.preprocessor.tokenizer.end_token_id)
    tokenize = task.preprocessor.tokenize
    return write_stores(folder, Corpus(corpus), tokenize, identity={}, separator=separator, row_length=1)[0], separator


def _counts(store: TokenStore, separator: int, rows: int) -> np.ndarray:
    counts = np.zeros(rows, np.int64)
    for block in store.blocks(_SENTENCE * _SENTENCE):
        counts += np.bincount(block, minlength=rows)
    counts[separator] = 0
    return counts


class _Sentences:
    """What gensim reads: the documents, in sentences of at most 1,000 tokens, as often as it asks."""

    def __init__(self, store: TokenStore, separator: int, bar: Progress, epochs: int) -> None:
        self.store, self.separator, self.bar = store, separator, bar
        self.task = bar.add_task("static embeddings", total=epochs * store.tokens)

    def __iter__(self) -> Iterator[list[int]]:
        for block in self.store.blocks(_SENTENCE):
            for part in np.split(block, np.flatnonzero(block == self.separator)):
                yield part.tolist()
            self.bar.advance(self.task, len(block))


def _learn(word2vec: Any, sentences: _Sentences, counts: np.ndarray, epochs: int) -> None:
    frequencies = {token: int(counts[token]) for token in np.flatnonzero(counts >= word2vec.min_count).tolist()}
    if not frequencies:
        raise ConfigError(f"Expected a token that comes {word2vec.min_count} times. Received: none; lower min_count.")
    word2vec.build_vocab_from_freq(frequencies)
    word2vec.train(sentences, total_words=sentences.store.tokens, epochs=epochs)


def _mean_length(vectors: np.ndarray) -> float:
    return float(np.linalg.norm(vectors, axis=1).mean())
