"""Items cut into requests, without a server."""

import re

import pytest

from tfllm.client import calls, cutting
from tfllm.client.calls import Target
from tfllm.errors import InvalidInput
from tfllm.wire import messages

ECHO = Target("echo")


def read(data):
    return messages.PredictRequest.FromString(data)


def cut(items, size, max_bytes=2**20):
    for chunk in cutting.text_chunks(ECHO, items, size, max_bytes):
        assert len(chunk.request) <= max_bytes
        texts = [text.decode() for text in read(chunk.request).inputs["text"].string_val]
        assert len(texts) == chunk.count == len(chunk.rows)
        yield chunk.first, texts


def test_chunks():
    assert list(cut("abcde", 2)) == [(0, ["a", "b"]), (2, ["c", "d"]), (4, ["e"])]
    assert list(cut([], 2)) == []


def test_chunks_are_cut_as_they_are_needed():
    taken = []

    def source():
        for number in range(100):
            taken.append(number)
            yield str(number)

    next(cut(source(), 8))
    assert len(taken) == 8


@pytest.mark.parametrize("letter", ["x", "漢", "\U0001f600"])
def test_no_chunk_is_over_the_size_limit(letter):
    texts = [letter * (number % 90) for number in range(300)]
    chunks = list(cut(texts, 64, max_bytes=1000))
    assert [text for _, chunk in chunks for text in chunk] == texts
    assert [first for first, _ in chunks] == [sum(len(c) for _, c in chunks[:n]) for n in range(len(chunks))]
    assert len(chunks) > 300 // 64 + 1


def test_few_large_texts_are_held_at_a_time():
    taken = []

    def source():
        for number in range(100):
            taken.append(number)
            yield "x" * 400

    next(cut(source(), 64, max_bytes=1000))
    assert len(taken) == 3


def test_a_text_too_large_for_a_request_has_its_place_with_an_error():
    *before, wrong, after = cutting.text_chunks(ECHO, ["a"] * 7 + ["x" * 2000, "b"], 64, 1000, first=100)
    assert [row for chunk in before for row in chunk.rows] == list(range(100, 107))
    assert not any(chunk.error for chunk in [*before, after])
    assert (wrong.first, wrong.count, after.first) == (107, 1, 108)
    assert re.search("at most 1000 bytes. Received: item 107 needs 20.. bytes.*max_request_bytes", str(wrong.error))


@pytest.mark.parametrize("wrong", [None, 5.0, "\ud800"])
def test_what_is_no_text_has_its_place_with_an_error(wrong):
    chunks = list(cutting.text_chunks(ECHO, ["a", "b", wrong, "c", "d"], 2, 1000))
    assert [(chunk.first, chunk.count, chunk.error is None) for chunk in chunks] == [
        (0, 2, True),
        (2, 2, False),
        (4, 1, True),
    ]
    assert isinstance(chunks[1].error, InvalidInput) and "item 2 " in str(chunks[1].error)


@pytest.mark.parametrize("items", [["a"], ["a", "b"], [("a", "b"), ("c", "d")]])
def test_one_request_is_the_one_that_cutting_gives(items):
    texts = calls.texts_of(ECHO, items)
    [chunk] = cutting.text_chunks(ECHO, items, 64, 1000)
    assert cutting.one_request(ECHO, texts, 1000) == chunk.request and texts == chunk.texts


@pytest.mark.parametrize("items", [[], ["x" * 600] * 2, ["x" * 990], ["漢" * 400]])
def test_what_is_not_one_request_is_left_to_cutting(items):
    assert cutting.one_request(ECHO, calls.texts_of(ECHO, items), 1000) is None
