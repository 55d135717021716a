import itertools

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfllm.data.passes import make_passes, plan_passes
from tfllm.data.pipeline import TrainingRows

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=60).map(np.array)


@given(LENGTHS, st.integers(1, 4), st.integers(1, 3), st.one_of(st.none(), st.integers(1, 120)))
def test_every_row_goes_somewhere_once(lengths, replicas, accumulate, max_tokens):
    plan = np.array_split(np.arange(len(lengths)), 2) if len(lengths) > 1 else [np.arange(1)]
    passes = plan_passes(plan, lengths, replicas=replicas, accumulate=accumulate, max_tokens=max_tokens)
    assert sum(passes.counts) == len(passes.rows) and all(count >= accumulate for count in passes.counts)
    start = 0
    for step, count in zip(plan, passes.counts, strict=True):
        parts = [part for replicas_rows in passes.rows[start : start + count] for part in replicas_rows]
        assert len(parts) == count * replicas
        assert sorted(np.concatenate(parts)) == sorted(step)
        if max_tokens is not None:
            assert all(len(part) <= 1 or len(part) * lengths[part].max() <= max_tokens for part in parts)
        start += count


def test_a_replica_without_rows_gets_one_that_does_not_count():
    rows = TrainingRows([["a", "b", "c"]], np.array([5, 6, 7]), np.ones(3, int))
    passes = plan_passes([np.array([2])], rows.lengths, replicas=2)
    made = make_passes(rows, lambda: passes.rows[0])
    batches = [(x.numpy().tolist(), y.numpy().tolist(), int(count)) for (x, y), count in made]
    assert batches == [([b"c"], [7], 1), ([b"a"], [5], 0)]
    assert made.element_spec[0] == (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int64))


def test_passes_need_not_end():
    rows = TrainingRows([["a", "b"]], np.array([0, 1]), np.ones(2, int))
    made = make_passes(rows, lambda: itertools.cycle([np.array([1]), np.array([0])]))
    assert [x.numpy().tolist() for (x, _), _ in made.take(3)] == [[b"b"], [b"a"], [b"b"]]
