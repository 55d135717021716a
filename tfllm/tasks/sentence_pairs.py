"""Two pieces of text that follow each other, or not: the second thing that an encoder may learn from raw text."""

import keras
import keras_hub
import numpy as np

from tfllm.errors import ConfigError, choices_hint
from tfllm.presets import EncoderOutput
from tfllm.tasks.heads import initializer

SENTENCE_HEADS = {
    "next": "whether the second half follows the first, or comes from elsewhere (Devlin et al., 2019, section 3.1)",
    "order": "whether the halves are in their order, or swapped (Lan et al., 2020, 'ALBERT', section 3.1)",
}
_WRONG = 0.5


def require_sentence_head(kind: str) -> None:
    """Raise `ConfigError` unless there is such a head."""
    if kind not in SENTENCE_HEADS:
        raise ConfigError(
            f"Expected a sentence_head. Received: sentence_head={kind!r}. {choices_hint(kind, SENTENCE_HEADS)}"
        )


def pair_logits(backbone: keras_hub.models.Backbone, encoded: EncoderOutput) -> keras.KerasTensor:
    """Return the logits of wrong and right pairs, float32 `(batch, 2)`, from the pooled first token."""
    pooled = encoded.pooled
    if pooled is None:
        dense = keras.layers.Dense(
            backbone.hidden_dim, activation="tanh", kernel_initializer=initializer(), name="pooled_dense"
        )
        pooled = dense(encoded.sequence[:, 0, :])
    return keras.layers.Dense(2, kernel_initializer=initializer(), dtype="float32", name="pair_logits")(pooled)


def pair_rows(rows: np.ndarray, others: np.ndarray, seeds: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Make wrong pairs of about half of the rows, whose halves are the two pieces.

    Args:
        rows: int `(rows, 2 * half)`.
        others: rows from elsewhere, of the same shape.
        seeds: int `(rows, 2)`: what is drawn for a row follows from its seed alone.
        kind: a key of `SENTENCE_HEADS`.

    Returns:
        The rows, and 1 for a right pair or 0 for a wrong one, int32 `(rows,)`.
    """
    draws = [np.random.default_rng([int(part) & 0xFFFFFFFF for part in seed]).random() for seed in seeds]
    wrong = np.array(draws) < _WRONG
    half = rows.shape[1] // 2
    first, second = rows[:, :half], rows[:, half:]
    flags = wrong[:, np.newaxis]
    if kind == "order":
        parts = np.where(flags, second, first), np.where(flags, first, second)
    else:
        parts = first, np.where(flags, others[:, half:], second)
    return np.concatenate(parts, axis=1), (~wrong).astype(np.int32)
