import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfllm.data.tags import tags_to_entities
from tfllm.tasks.tagging import answer_of_spans, bio_spans, substring
from tfllm.tasks.words import Words, word_kinds

TAGS = ("O", "B-x", "I-x", "B-y", "I-y")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(range(5)), max_size=8), min_size=1, max_size=4))
def test_tags_become_the_entities_that_they_say(rows):
    """Also those that a model may give and nobody writes: I- after O, after another type, or at the start."""
    lengths = [len(row) for row in rows]
    places = [[(2 * word, 2 * word + 1) for word in range(length)] for length in lengths]
    flat = [place for row in places for place in row]
    parts = (range(len(flat)), [start for start, _ in flat], [end for _, end in flat])
    words = Words(*(tf.RaggedTensor.from_row_lengths(tf.constant(list(part), tf.int32), lengths) for part in parts))
    scores = tf.one_hot([tag for row in rows for tag in row], 5, on_value=0.6, off_value=0.1)
    text = tf.constant(["a b c d e f g h"] * len(rows))
    found = answer_of_spans(text, words, *bio_spans(scores, words), ("x", "y"))
    for row, tags in enumerate(rows):
        wanted = tags_to_entities([TAGS[tag] for tag in tags], places[row], "iob1")
        count = int(found["count"][row])
        columns = [found[name][row, :count].numpy().tolist() for name in ("start", "end", "entity", "word", "score")]
        got = list(zip(*columns, strict=True))
        assert [(start, end, kind.decode()) for start, end, kind, _, _ in got] == wanted
        assert all(word.decode() == "a b c d e f g h"[start:end] for start, end, _, word, _ in got)
        assert all(score == pytest.approx(0.7) for *_, score in got)  # B- and I- of the type together


def test_the_score_is_the_mean_of_the_words():
    words = Words(*(tf.ragged.constant([row], tf.int32) for row in ([0, 1], [0, 3], [2, 5])))
    scores = tf.constant([[0.1, 0.7, 0.1, 0.1, 0.0], [0.3, 0.0, 0.5, 0.1, 0.1]])
    found = answer_of_spans(tf.constant(["ab cd"]), words, *bio_spans(scores, words), ("x", "y"))
    assert found["score"].numpy().tolist() == [[pytest.approx((0.8 + 0.5) / 2)]]
    assert found["word"].numpy().tolist() == [[b"ab cd"]]


@pytest.mark.parametrize(
    "text", ["", "a\tb\r\nc", "日本 😀e\u0301\u0301", "שלום\u200d", "zero\x00byte", b"\xff\xfe \xc3("]
)
def test_substrings_count_code_points_as_python_does(text):
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    places = [(start, end) for end in range(len(decoded) + 1) for start in range(end + 1) if start < end or start == 0]
    starts, ends = (tf.constant(column, tf.int32) for column in zip(*places, strict=True))
    found = substring(tf.constant([text] * len(places)), starts, ends).numpy()
    assert [part.decode() for part in found] == [decoded[start:end] for start, end in places]


@pytest.mark.parametrize(
    ("entities", "wanted"),
    [
        ([(0, 2, "x")], [(0, 0)]),
        ([(1, 4, "x")], [(0, 0), (1, 0)]),
        ([(0, 1, "x"), (1, 2, "y")], [(0, 0)]),
        ([(2, 3, "x")], []),
        ([(8, 9, "x")], []),
        ([(3, 10, "x")], [(1, 0), (2, 0)]),
    ],
)
def test_words_that_overlap_an_entity_are_in_it(entities, wanted):
    assert word_kinds(np.array([0, 3, 6]), np.array([2, 5, 8]), entities) == wanted
