"""Rows of an embedder: what it can learn from, which texts are equal, and texts to vectors in batches."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, DataError, choices_hint
from tfllm.tasks.rows import as_rows

TEXT_KINDS = ("document", "query")
_LARGEST_SIMILARITY = 1.0


def require_text_kind(kind: str) -> None:
    """Raise `ConfigError`, naming the kinds, unless there is such a kind of text to embed."""
    if kind not in TEXT_KINDS:
        raise ConfigError(f"Expected a kind of text. Received: kind={kind!r}. {choices_hint(kind, TEXT_KINDS)}")


def check_rows(data: TextDataset, kind: str) -> np.ndarray:
    """Return the targets of rows that fit an objective.

    Args:
        data: the rows.
        kind: the kind of an `EmbeddingLoss`.

    Returns:
        The similarity of each pair, float32 `(rows,)`; `(rows, 0)` for rows that have none.

    Raises:
        DataError: the rows have too few texts, a similarity under -1 or over 1, or none where there must be one.
    """
    if data.text_pair is None:
        raise DataError(f"Expected two or three texts a row. Received: {data!r}. Load it with text_pair=.")
    if kind == "cosine" or (kind == "auto" and data.label is not None):
        return _similarities(data)
    if data.label is not None:
        raise DataError(f"Expected rows of texts alone for {kind}. Received: {data!r}. Load it with label=None.")
    if kind == "triplet" and data.text_negative is None:
        raise DataError(f"Expected three texts a row. Received: {data!r}. Load it with text_negative=.")
    return np.zeros((len(data), 0), np.float32)


def _similarities(data: TextDataset) -> np.ndarray:
    if data.text_negative is not None:
        raise DataError(f"Expected two texts a row beside their similarity. Received: {data!r}, with text_negative=.")
    values = np.array(data.targets_of("value"), np.float32)
    if np.abs(values).max() > _LARGEST_SIMILARITY:
        raise DataError(
            f"Expected similarities from -1 to 1 in column '{data.label}' of {data.source}. Received: "
            f"{values.min():g} to {values.max():g}. Scale the column, for example from 0 to 5 by dividing it by 5."
        )
    return values


def text_numbers(texts: tf.Tensor) -> tf.Tensor:
    """Number the texts of a batch, string `(rows, texts)` -> int32 of that shape; equal texts have equal numbers."""
    return tf.reshape(tf.unique(tf.reshape(texts, [-1])).idx, [-1, texts.shape[1]])


def encode_rows(
    answer: Callable[[tf.Tensor], dict[str, tf.Tensor]], texts: Sequence[str], batch_size: int, progress: bool
) -> np.ndarray:
    """Embed texts in batches of like length.

    Args:
        answer: string `(batch,)` -> outputs with `embedding`.
        texts: the texts.
        batch_size: texts a step.
        progress: show a bar on standard error.

    Returns:
        float32 `(texts, dim)`, in the order of the texts.

    Raises:
        DataError: something is not a text.
        ConfigError: there are no texts in a batch.
    """
    if batch_size < 1:
        raise ConfigError(f"Expected a batch_size of at least 1. Received: {batch_size}.")
    rows = as_rows(texts)
    if rows and len(rows[0]) != 1:
        raise DataError("Expected single texts, since each has its own embedding. Received: pairs of texts.")
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row][0]))  # the longest first: memory fails at once
    starts = range(0, len(order), batch_size)
    console = Console(stderr=True)
    shown = track(starts, "embedding", console=console, transient=True, disable=not progress)
    batches = [
        answer(tf.constant([rows[row][0] for row in order[start : start + batch_size]]))["embedding"].numpy()
        for start in shown
    ]
    if not batches:
        return np.zeros((0,), np.float32)
    vectors = np.empty((len(rows), batches[0].shape[1]), np.float32)
    vectors[order] = np.concatenate(batches)
    return vectors
