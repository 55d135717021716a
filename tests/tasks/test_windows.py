import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfllm.tasks.windows import cut_windows, merge_windows, select, window_at, windows_of

TEXTS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 12), st.integers(0, 6)).map(
        lambda size: (size[0], size[1], min(size[2], size[1] - 1))
    ),
    min_size=1,
    max_size=5,
)


def by_hand(length, room, overlap):
    """The windows of one text, as (start, length)."""
    found, start = [], 0
    while True:
        found.append((start, min(room, length - start)))
        if start + room >= length:
            return found
        start += room - overlap


def cut(texts):
    columns = [tf.constant(column, tf.int32) for column in zip(*texts, strict=True)]
    return columns, cut_windows(*columns)


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_windows_are_those_that_slide(texts):
    columns, windows = cut(texts)
    wanted = [(row, *window) for row, text in enumerate(texts) for window in by_hand(*text)]
    assert list(zip(*(part.numpy().tolist() for part in windows), strict=True)) == wanted
    counts = windows_of(*columns)
    assert counts.numpy().tolist() == [len(by_hand(*text)) for text in texts]
    last = window_at(*columns, tf.range(len(texts)), counts - 1)
    assert (last.starts + last.lengths).numpy().tolist() == [length for length, _, _ in texts]


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_each_token_takes_the_window_with_the_most_context(texts):
    lengths = [length for length, _, _ in texts]
    tokens = tf.RaggedTensor.from_row_lengths(tf.range(100, 100 + sum(lengths)), lengths)
    _, windows = cut(texts)
    parts = select(windows, tokens)
    values = np.full((len(windows.rows), int(tf.reduce_max(windows.lengths)) + 1, 1), -1.0, np.float32)
    wanted = {}
    for number, (row, start, length) in enumerate(zip(*(part.numpy() for part in windows), strict=True)):
        assert parts[number].numpy().tolist() == tokens[row].numpy()[start : start + length].tolist()
        for place in range(length):
            values[number, place] = number
            context = min(place, length - 1 - place)
            wanted.setdefault((row, start + place), []).append((-context, number))
    merged = merge_windows(windows, tf.constant(values), tokens).numpy()[:, 0].tolist()
    assert merged == [min(wanted[row, place])[1] for row, length in enumerate(lengths) for place in range(length)]
