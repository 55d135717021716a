"""The training loop over a corpus: rows of full length, by their places in an endless order."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.sentence_pairs import pair_rows
from tfllm.training.epoch_work import EpochWork
from tfllm.training.loop import RowsOf, TrainingLoop
from tfllm.training.pretraining_settings import PretrainConfig
from tfllm.training.token_store import TokenStore, shuffled

_VALIDATION_SEED = -1

_Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.int32]
"""Rows, whether each is a right pair, their seeds, and how many of them count."""


@dataclass(frozen=True)
class PretrainingLoop(TrainingLoop):
    """The epochs of pre-training.

    Row `n` of a run is row `n % rows` of pass `n // rows`, in the order of that pass, masked by the seed `n`: so the
    next step follows from its number alone, and a run can go on anywhere.

    Attributes:
        model: a compiled `MaskedLM`.
        rows: the corpus.
        validation: what to judge each epoch by, or None; its masks are the same in each epoch.
        config: the settings.
    """

    model: MaskedLM
    rows: TokenStore
    validation: TokenStore | None
    config: PretrainConfig

    def build(self) -> None:
        """Make all variables, which Keras would make at the first step: a state can then be restored into them."""
        rows, pairs = self.rows.read(np.zeros(1, np.int64)), np.ones(1, np.int32)
        batch = self._masked(rows, pairs, np.zeros((1, 2), np.int64))
        with self.steps.strategy.scope():
            self.model._symbolic_build(data_batch=batch)

    def _steps_of(self, epoch: int) -> int:
        return self.config.steps_per_epoch

    def _work(self, epoch: int, first_step: int) -> tuple[EpochWork, Sequence[int], RowsOf]:
        config, steps = self.config, self.config.steps_per_epoch
        rows = np.full(steps - first_step, config.batch_size)
        tokens = rows * self.model.preprocessor.max_length
        work = EpochWork(rows, tokens, tokens, first_step=first_step, rows_before=first_step * config.batch_size)
        counts = [config.accumulate] * (steps - first_step)
        return work, counts, lambda step: np.asarray(self._numbers(epoch * steps + step))

    def _validation(self, rows: TokenStore) -> tuple[Any, int]:
        """Return an iterator over the rows, again and again, and how many passes are once."""
        starts = range(0, rows.rows, self.config.batch_size)

        def parts(replicas: range) -> Iterator[_Part]:
            for start in itertools.cycle(starts):
                batch = np.arange(start, min(start + self.config.batch_size, rows.rows))
                split = np.array_split(batch, self.steps.replicas)
                for part in (split[replica] for replica in replicas):
                    chosen = part if len(part) else batch[:1]  # a replica without rows gets one that does not count
                    seeds = np.stack([np.full_like(chosen, _VALIDATION_SEED), chosen], axis=1)
                    elsewhere = (chosen + rows.rows // 2) % rows.rows
                    pieces = self._paired(rows.read, chosen, elsewhere, seeds)
                    yield *pieces, seeds, np.int32(len(part))

        return self._iterator_of(parts), len(starts)

    def _numbers(self, step: int) -> range:
        """Return the numbers of the rows of a step, counted from the beginning of the run."""
        return range(step * self.config.batch_size, (step + 1) * self.config.batch_size)

    def _training(self, position: tuple[int, int]) -> Any:
        """Return an iterator over what the steps take, from a position to the end of the last epoch."""
        steps_per_epoch = self.config.steps_per_epoch
        steps = range(position[0] * steps_per_epoch + position[1], self.config.epochs * steps_per_epoch)

        def parts(replicas: range) -> Iterator[_Part]:
            for step in steps:
                numbers = self._numbers(step)
                split = np.array_split(
                    np.arange(numbers.start, numbers.stop), self.config.accumulate * self.steps.replicas
                )
                for first in range(0, len(split), self.steps.replicas):
                    for part in (split[first + replica] for replica in replicas):
                        seeds = np.stack([np.full_like(part, self.config.seed), part], axis=1)
                        elsewhere = part + self.rows.rows // 2  # far away in an order that is random
                        pieces = self._paired(self._read, part, elsewhere, seeds)
                        yield *pieces, seeds, np.int32(len(part))

        return self._iterator_of(parts)

    def _read(self, numbers: np.ndarray) -> np.ndarray:
        rows = np.empty(len(numbers), np.int64)
        passes = numbers // self.rows.rows
        for pass_number in np.unique(passes):
            chosen = passes == pass_number
            places = numbers[chosen] % self.rows.rows
            rows[chosen] = shuffled(places, self.rows.rows, self.config.seed, int(pass_number))
        return self.rows.read(rows)

    def _paired(
        self, read: Callable[[np.ndarray], np.ndarray], numbers: np.ndarray, others: np.ndarray, seeds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        kind = self.model.sentence_head
        if kind is None:
            return read(numbers), np.ones(len(numbers), np.int32)
        rows = read(numbers)
        return pair_rows(rows, read(others) if kind == "next" else rows, seeds, kind)

    def _iterator_of(self, parts: Callable[[range], Iterator[_Part]]) -> Any:
        specs = (
            tf.TensorSpec([None, self.rows.row_length], tf.int32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, 2], tf.int64),
            tf.TensorSpec([], tf.int32),
        )

        def local(replicas: range) -> tf.data.Dataset:
            batches = tf.data.Dataset.from_generator(lambda: parts(replicas), output_signature=specs)
            return batches.map(lambda ids, pairs, seeds, count: (self._masked(ids, pairs, seeds), count))

        return self.steps.iterator(local)

    @tf.autograph.experimental.do_not_convert
    def _masked(self, ids: tf.Tensor, pairs: tf.Tensor, seeds: tf.Tensor) -> tuple[Any, Any, Any]:
        pack, seeds = self.model.preprocessor.pack, tf.convert_to_tensor(seeds)
        if self.model.sentence_head is None:
            return self.model.masking(pack(tf.RaggedTensor.from_tensor(ids)), seeds)
        half = self.rows.row_length // 2
        first, second = (tf.RaggedTensor.from_tensor(part) for part in (ids[:, :half], ids[:, half:]))
        tokens, labels, weights = self.model.masking(pack(first, second), seeds)
        # A pair counts as much as its masks, so that both losses are means over the same sum of weights.
        pair_weights = tf.reduce_sum(weights, axis=1)
        return tokens, {"tokens": labels, "pairs": pairs}, {"tokens": weights, "pairs": pair_weights}
