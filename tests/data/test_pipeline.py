import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfllm.data.pipeline import TrainingRows, plan_epoch, plan_in_order, row_columns, row_gatherer, token_lengths
from tfllm.data.schema import TextDataset

LENGTHS = st.lists(st.integers(0, 50), min_size=1, max_size=400).map(np.array)


def padding(lengths, plan):
    """The share of positions that hold no token."""
    positions = sum(lengths[batch].max() * len(batch) for batch in plan)
    return 1 - lengths.sum() / positions


def realistic_lengths(rows=4000):
    return np.clip(np.random.default_rng(0).lognormal(3.2, 0.7, rows).astype(int), 3, 256)


def same(plan, other):
    return len(plan) == len(other) and all(map(np.array_equal, plan, other))


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_has_each_row_once(lengths, batch_size, seed, epoch):
    plan = plan_epoch(lengths, batch_size, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(plan)) == list(range(len(lengths)))
    assert sorted(map(len, plan))[1:] == [batch_size] * (len(plan) - 1)
    assert same(plan, plan_epoch(lengths, batch_size, seed=seed, epoch=epoch))


def test_epochs_and_seeds_differ():
    lengths = realistic_lengths(300)
    plans = [plan_epoch(lengths, 8, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert not any(same(plans[i], plans[j]) for i in range(4) for j in range(i))


def test_an_epoch_wastes_little_on_padding():
    lengths = realistic_lengths()
    shuffled = np.array_split(np.random.default_rng(0).permutation(len(lengths)), len(lengths) // 32)
    waste = padding(lengths, plan_epoch(lengths, 32, seed=0, epoch=0))
    assert waste < 0.1 < 0.5 < padding(lengths, shuffled)


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 200), st.integers(0, 3), st.integers(0, 3))
def test_batches_of_tokens_have_each_row_once_and_keep_to_the_budget(lengths, batch_tokens, seed, epoch):
    plan = plan_epoch(lengths, 1, batch_tokens, seed=seed, epoch=epoch)
    for batches in (plan, plan_in_order(lengths, 1, batch_tokens)):
        assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
        assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= batch_tokens for batch in batches)
    assert same(plan, plan_epoch(lengths, 1, batch_tokens, seed=seed, epoch=epoch))


def test_batches_of_tokens_are_full_and_waste_little():
    lengths = realistic_lengths()
    plan = plan_epoch(lengths, 1, 1024, seed=0, epoch=0)
    positions = sorted(len(batch) * lengths[batch].max() for batch in plan)
    assert positions[1] > 0.6 * 1024 and np.mean(positions) > 0.95 * 1024  # all but one, the last
    assert padding(lengths, plan) < 0.06
    assert not same(plan, plan_epoch(lengths, 1, 1024, seed=0, epoch=1))


def test_the_batches_of_an_epoch_are_not_in_order_of_length():
    lengths = realistic_lengths()
    means = [lengths[batch].mean() for batch in plan_epoch(lengths, 32, seed=0, epoch=0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.sampled_from([None, 40]), st.integers(0, 3))
def test_the_batch_that_needs_most_memory_comes_first(lengths, batch_size, batch_tokens, epoch):
    plan = plan_epoch(lengths, batch_size, batch_tokens, seed=0, epoch=epoch)
    numbers = [len(batch) * (lengths[batch].max() * 34 + lengths[batch].max() ** 2 * 5 / 64) for batch in plan]
    assert numbers[0] == pytest.approx(max(numbers), rel=1e-3)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(1, 9))
def test_evaluation_goes_by_length(lengths, batch_size):
    rows = np.concatenate(plan_in_order(lengths, batch_size))
    assert sorted(rows) == list(range(len(lengths)))
    assert (np.diff(lengths[rows]) >= 0).all()


def split_words(*columns):
    """A stand-in for a tokenizer: one token a word, all columns in one row."""
    words = tf.concat([tf.strings.split(column) for column in columns], axis=1)
    return {"padding_mask": tf.cast(words.to_tensor("") != "", tf.int32)}


def test_token_lengths(monkeypatch):
    monkeypatch.setattr("tfllm.data.pipeline._CHUNK_ROWS", 2)
    first, second = ["a b", "", "a", "a b c d", "a"], ["x", "x y", "", "x", "x"]
    assert token_lengths([first], split_words).tolist() == [2, 0, 1, 4, 1]
    assert token_lengths([first, second], split_words).tolist() == [3, 2, 1, 5, 2]


def test_row_columns():
    frame = pd.DataFrame({"text": ["a", "b"], "more": ["c", "d"], "label": [0, 1]})
    assert row_columns(TextDataset(frame)) == [["a", "b"]]
    assert row_columns(TextDataset(frame, text_pair="more")) == [["a", "b"], ["c", "d"]]


TEXTS = [["a", "b", "c", "d", "é"]]
TARGETS = np.array([10, 11, 12, 13, 14], "int32")
ONES = np.ones(5, "int32")
NUMBERS = tf.constant([3, 0], tf.int64)


def test_the_rows_of_some_numbers():
    texts, targets = row_gatherer(TrainingRows(TEXTS, TARGETS, ONES))(NUMBERS)
    assert (texts.numpy().tolist(), targets.numpy().tolist()) == ([b"d", b"a"], [13, 10])


def test_pairs_with_weights():
    weights = np.array([0.5, 1.5, 2.5, 3.5, 4.5])
    gather = row_gatherer(TrainingRows([*TEXTS, ["A", "B", "C", "D", "E"]], TARGETS, ONES), sample_weight=weights)
    (texts, pairs), targets, weight = gather(NUMBERS)
    assert (texts.numpy().tolist(), pairs.numpy().tolist()) == ([b"d", b"a"], [b"D", b"A"])
    assert (targets.numpy().tolist(), weight.numpy().tolist(), weight.dtype) == ([13, 10], [3.5, 0.5], tf.float32)


@pytest.mark.parametrize("targets", [np.eye(5, dtype="float32"), np.arange(5.0)])
def test_targets_of_any_shape(targets):
    _, batch = row_gatherer(TrainingRows(TEXTS, targets, ONES))(NUMBERS)
    assert np.array_equal(batch, targets[[3, 0]])
