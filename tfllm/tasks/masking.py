"""Masked tokens to learn from: which ones, and what stands in their place."""

from dataclasses import dataclass

import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.tasks.preprocessing import Tokens

_MASKED, _RANDOM = 0.8, 0.1
"""Of the tokens that are chosen: the share that becomes the mask token, and a random one; the rest stays as it is."""


@dataclass(frozen=True)
class Masking:
    """How rows of tokens are masked.

    Whole words are drawn until so many tokens are reached; of those, 80 % become the mask token, 10 % a random one, and
    10 % stay (Devlin et al., 2019, "BERT", section 3.1 and, for whole words, the released code). What is drawn for a
    row follows from its seed alone.

    Attributes:
        begins: for each token id, whether it begins a word.
        special: the ids that are never masked.
        mask_id: the id of the mask token.
        rate: the share of tokens to choose.
        whole_words: whether all tokens of a word are chosen together.

    Raises:
        ConfigError: the rate is not between 0 and 1.
    """

    begins: tuple[bool, ...]
    special: tuple[int, ...]
    mask_id: int
    rate: float = 0.15
    whole_words: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ConfigError(f"Expected mask_rate between 0 and 1. Received: mask_rate={self.rate}.")

    def __call__(self, tokens: Tokens, seeds: tf.Tensor) -> tuple[Tokens, tf.Tensor, tf.Tensor]:
        """Mask rows.

        Args:
            tokens: token tensors `(batch, sequence)`.
            seeds: int64 `(batch, 2)`, one seed a row.

        Returns:
            The tokens with `mask_positions`, int32 `(batch, masks)`; the ids that stood there, int32 `(batch, masks)`;
            and weights float32 `(batch, masks)`, 0 where a row has fewer masks than another.
        """
        ids, padding = tokens["token_ids"], tokens["padding_mask"]
        width = tf.shape(ids)[1]
        # Three for each place, one place after the other: those of a row are the same in a wider batch.
        draws = tf.map_fn(
            lambda seed: tf.random.stateless_uniform([width + 1, 3], seed), seeds, fn_output_signature=tf.float32
        )
        is_special = tf.reduce_any(ids[..., tf.newaxis] == tf.constant(self.special), axis=-1)
        maskable = tf.logical_and(padding != 0, tf.logical_not(is_special))
        chosen = self._choose(ids, maskable, is_special, draws[..., 0])
        replaced = tf.where(chosen, self._replace(ids, draws[:, :width, 1], draws[:, :width, 2]), ids)
        counts = tf.reduce_sum(tf.cast(chosen, tf.int32), axis=1)
        masks = tf.maximum(tf.reduce_max(counts), 1)
        order = tf.argsort(tf.where(chosen, 0, 1), axis=1, stable=True)[:, :masks]
        real = tf.sequence_mask(counts, masks)
        positions = tf.where(real, order, 0)
        labels = tf.where(real, tf.gather(ids, order, batch_dims=1), 0)
        masked = {**tokens, "token_ids": replaced, "mask_positions": positions}
        return masked, labels, tf.cast(real, tf.float32)

    def _choose(self, ids: tf.Tensor, maskable: tf.Tensor, is_special: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Return which tokens are chosen, bool `(batch, sequence)`."""
        rows, width = tf.shape(ids)[0], tf.shape(ids)[1]
        after_special = tf.pad(is_special[:, :-1], [[0, 0], [1, 0]], constant_values=True)
        begins = tf.gather(tf.constant(self.begins), ids) | is_special | after_special
        word = tf.cumsum(tf.cast(begins if self.whole_words else tf.ones_like(begins), tf.int32), axis=1)
        key = tf.where(maskable, tf.gather(draws, word, batch_dims=1), 2.0)  # the tokens of a word have the same one
        rank = tf.argsort(tf.argsort(key, axis=1, stable=True), axis=1, stable=True)
        segment = word + tf.range(rows)[:, tf.newaxis] * (width + 1)
        last = tf.gather(tf.math.unsorted_segment_max(rank, segment, rows * (width + 1)), segment)
        count = tf.reduce_sum(tf.cast(maskable, tf.float32), axis=1, keepdims=True)
        budget = tf.maximum(tf.cast(tf.round(count * self.rate), tf.int32), 1)
        whole = tf.logical_and(maskable, last < budget)
        some = tf.reduce_any(whole, axis=1, keepdims=True)
        # Where the first word drawn is longer than the budget, a part of it has to do.
        return tf.where(some, whole, tf.logical_and(maskable, rank < budget))

    def _replace(self, ids: tf.Tensor, fate: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        size = len(self.begins)
        random = tf.minimum(tf.cast(other * size, tf.int32), size - 1)
        kept = tf.where(fate < _MASKED + _RANDOM, random, ids)
        return tf.where(fate < _MASKED, self.mask_id, kept)
