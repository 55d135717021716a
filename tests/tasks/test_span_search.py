import numpy as np
import pytest
import tensorflow as tf

from tfllm.tasks.span_search import best_spans
from tfllm.tasks.windows import cut_windows

LONGEST = 3


def by_hand(logits, is_context, begins, starts, owners, row):
    """The best span of one text, its probability and the margin of no answer, by trying all."""
    spans, none = [], []
    for window in np.flatnonzero(owners == row):
        none.append(logits[window, 0].sum())
        for first in range(logits.shape[1]):
            for last in range(first, min(first + LONGEST, logits.shape[1])):
                if is_context[window, first] and is_context[window, last]:
                    shift = starts[window] - begins[window]
                    spans.append((logits[window, first, 0] + logits[window, last, 1], first + shift, last + shift))
    none = min(none)
    total = np.exp([score for score, *_ in spans]).sum() + np.exp(none)
    score, first, last = max(spans)
    return first, last, np.exp(score) / total, none - score, np.exp(none) / total


@pytest.mark.parametrize("seed", range(5))
def test_the_search_is_exact(seed):
    generator = np.random.default_rng(seed)
    lengths, room = [9, 3, 5], [4, 6, 4]
    windows = cut_windows(tf.constant(lengths), tf.constant(room), tf.constant([1, 1, 2]))
    begins = np.array([3, 2, 4])[windows.rows]
    width = int((begins + windows.lengths).numpy().max()) + 1
    place = np.arange(width)
    is_context = (place >= begins[:, None]) & (place < (begins + windows.lengths)[:, None])
    is_context &= generator.random(is_context.shape) < 0.8
    logits = generator.normal(size=(len(begins), width, 2)).astype(np.float32)
    found = best_spans(
        tf.constant(logits), tf.constant(is_context), tf.constant(begins, tf.int32), windows, tf.constant(3), LONGEST
    )
    for row in range(3):
        wanted = by_hand(logits, is_context, begins, windows.starts.numpy(), windows.rows.numpy(), row)
        got = [found.first[row], found.last[row], found.probability[row], found.margin[row], found.none[row]]
        np.testing.assert_allclose([float(value) for value in got], wanted, rtol=1e-4)
        assert found.found[row]


def test_a_text_without_any_span():
    windows = cut_windows(tf.constant([0]), tf.constant([4]), tf.constant([1]))
    logits = tf.ones([1, 4, 2])
    found = best_spans(logits, tf.zeros([1, 4], tf.bool), tf.constant([3]), windows, tf.constant(1), LONGEST)
    assert not found.found[0]
    assert float(found.none[0]) == 1.0 and float(found.probability[0]) == 0.0


def test_large_logits_do_not_overflow():
    windows = cut_windows(tf.constant([2]), tf.constant([4]), tf.constant([1]))
    logits = tf.constant([[[0.0, 0.0], [900.0, 5.0], [0.0, 900.0]]])
    found = best_spans(logits, tf.constant([[False, True, True]]), tf.constant([1]), windows, tf.constant(1), LONGEST)
    assert (int(found.first[0]), int(found.last[0]), float(found.probability[0])) == (0, 1, 1.0)
