"""Typed calls against functions in the place of a server, with both clients."""

import asyncio

import numpy as np
import pandas as pd
import pytest

from tfllm.client.aio import AsyncClient
from tfllm.client.client import Client
from tfllm.client.mock import MockTransport
from tfllm.errors import ConfigError, InvalidInput, SignatureMismatch
from tfllm.results import Answer, Embedding, Entities, Entity, FilledMask, MultiLabel, Ranking, Regression


def embeddings(inputs):
    return {"embedding": np.float32([[len(text), 1, 2] for text in inputs["text"]])}


def entities(inputs):
    """Every text has its first word as a city, but for the empty ones."""
    words = [text.split()[:1] for text in inputs["text"].tolist()]
    return {
        "entity": [[b"city", b""] if word else [b"", b""] for word in words],
        "word": [[*word, b"", b""][:2] for word in words],
        "start": np.zeros((len(words), 2), "int32"),
        "end": np.int32([[len(word[0]) if word else 0, 0] for word in words]),
        "score": np.full((len(words), 2), 0.5, "float32"),
        "count": np.int32([len(word) for word in words]),
    }


def answers(inputs):
    contexts = inputs["context"].tolist()
    ends = [min(5, len(context)) for context in contexts]
    return {
        "answer": [context[:end] for context, end in zip(contexts, ends, strict=True)],
        "start": np.zeros(len(contexts), "int32"),
        "end": np.int32(ends),
        "score": np.float32([len(question) for question in inputs["question"]]),
    }


def masks(inputs):
    count = len(inputs["text"])
    return {"token": [[[b"good", b"bad"]]] * count, "score": np.full((count, 1, 2), 0.25, "float32")}


def relevance(inputs):
    """A document is the better the longer it is."""
    assert set(inputs["text"].tolist()) == {b"query"}
    return {"score": np.float32([len(text) for text in inputs["text_pair"]])}


def values(inputs):
    return {"value": np.float32([len(text) for text in inputs["text"]])}


def several(inputs):
    count = len(inputs["text"])
    return {"labels": [[b"a", b""]] * count, "scores": [[0.9, 0.1]] * count, "count": [1] * count}


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Return a function that calls a method of a client over a function."""

    def run(predict, method, *arguments, **options):
        mock = MockTransport(predict)
        if request.param == "sync":
            with Client("nowhere:1", model="m", transport=mock) as client:
                return getattr(client, method)(*arguments, **options)

        async def ask():
            async with AsyncClient("nowhere:1", model="m", transport=mock.for_asyncio()) as client:
                return await getattr(client, method)(*arguments, **options)

        return asyncio.run(ask())

    return run


def test_embeddings_stack_to_a_matrix(call):
    found = call(embeddings, "embed", ["a", "bc", "def"], batch_size=2)
    assert np.asarray(found).tolist() == [[1, 1, 2], [2, 1, 2], [3, 1, 2]]
    assert np.asarray(found).dtype == np.float32
    assert call(embeddings, "embed", "abc") == Embedding(np.float32([3, 1, 2]))
    assert call(embeddings, "embed", []) == []


def test_entities_know_their_text(call):
    rome, none = call(entities, "entities", ["Rome is old", ""])
    assert rome == Entities([Entity("city", "Rome", 0, 4, 0.5)]) and rome.text == "Rome is old"
    assert none == Entities() and none.text == ""
    assert isinstance(call(entities, "entities", b"Rome"), Entities)


def test_answers(call):
    found = call(answers, "answer", question="Where?", context="Paris it is")
    assert found == Answer("Paris", 0, 5, 6.0) and found.context == "Paris it is"
    pairs = [("q", "first one"), ("qq", "2nd"), ("qqq", "")]
    found = call(answers, "answers", pairs, batch_size=2)
    assert [(item.answer, item.score) for item in found] == [("first", 1.0), ("2nd", 2.0), ("", 3.0)]


def test_masks(call):
    expected = (FilledMask(("good", "bad"), (0.25, 0.25)),)
    assert call(masks, "fill_mask", ["A [MASK] film."]) == [expected]
    assert call(masks, "fill_mask", "A [MASK] film.") == expected


def test_rankings(call):
    documents = ["ab", b"abcd", "a", "abc"]
    found = call(relevance, "rank", "query", documents, batch_size=3)
    assert found == [Ranking(1, 4.0, "abcd"), Ranking(3, 3.0, "abc"), Ranking(0, 2.0, "ab"), Ranking(2, 1.0, "a")]
    assert call(relevance, "rank", "query", documents, top_k=1) == found[:1]
    assert call(relevance, "rank", "query", []) == []
    assert call(relevance, "rank", "query", (text for text in documents), top_k=2) == found[:2]
    for wrong in ("one text", 5, pd.DataFrame({"text": ["a"]})):
        with pytest.raises(InvalidInput, match="list of documents"):
            call(relevance, "rank", "query", wrong)
    with pytest.raises(ConfigError, match="Received: top_k=-1"):
        call(relevance, "rank", "query", documents, top_k=-1)


def test_predict_gives_what_the_model_gives(call):
    assert call(values, "predict", ["abc"]) == [Regression(3.0)]
    assert call(several, "predict", "abc") == MultiLabel(("a",), (0.9, 0.1))


@pytest.mark.parametrize(
    ("method", "predict", "message"),
    [
        ("embed", values, "gives Embedding. Received: Regression"),
        ("entities", masks, "gives Entities. Received: FilledMask"),
        ("fill_mask", entities, "gives FilledMask. Received: Entities"),
        ("fill_mask", values, "gives FilledMask. Received: Regression"),
    ],
)
def test_a_model_of_another_task_is_told(call, method, predict, message):
    with pytest.raises(SignatureMismatch, match=message):
        call(predict, method, ["a"])


def test_tables_of_each_task(call):
    frame = pd.DataFrame({"t": ["Rome is", "ab"]}, index=[5, 7])
    assert call(values, "to_frame", frame, text="t")["value"].tolist() == [7.0, 2.0]
    found = call(entities, "to_frame", frame, text="t", prefix="p_")
    assert [len(row) for row in found["p_entities"]] == [1, 1] and found.index.tolist() == [5, 7]
    assert call(embeddings, "to_frame", frame, text="t")["embedding"][7].tolist() == [2, 1, 2]
    with pytest.raises(ConfigError, match="Received: value. Give them other names"):
        call(values, "to_frame", pd.DataFrame({"t": ["a"], "value": [1]}), text="t")


def test_a_model_of_another_maker_points_to_arrays(call):
    with pytest.raises(SignatureMismatch, match="Received: .'other'.. Use the raw arrays"):
        call(lambda inputs: {"other": [1]}, "predict", "a")
