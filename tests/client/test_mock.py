import asyncio

import numpy as np
import pytest

from tfllm.client.aio import AsyncClient
from tfllm.client.client import Client
from tfllm.client.mock import MockTransport
from tfllm.errors import Cancelled, Overloaded, Unimplemented


def predict(inputs):
    texts = inputs["text"].tolist()
    return {"label": texts, "score": np.float32([len(text) for text in texts]), "scores": [[0.5, 0.5]] * len(texts)}


def test_a_client_over_a_function():
    transport = MockTransport(predict, version=3)
    with Client("nowhere:1", model="reviews", signature="s", transport=transport, timeout=2) as client:
        assert [result.label for result in client.predict(["a", "bc"], batch_size=1)] == ["a", "bc"]
        assert client.predict_arrays({"text": ["a"]}, outputs=["score"]).keys() == {"score"}
        assert client.status()[0].version == 3
        client.wait_until_ready(1)
        with pytest.raises(Unimplemented, match="GetModelMetadata"):
            client.metadata()
    first = transport.calls[0]
    assert (first.model, first.signature, first.inputs["text"].tolist()) == ("reviews", "s", [b"a"])
    assert 0 < first.timeout <= 2 and len(transport.calls) == 3 and transport.closed
    with pytest.raises(Cancelled, match="client is closed"):
        client.predict("a")


def test_an_asynchronous_client_over_a_function():
    transport = MockTransport(predict)

    async def ask():
        async with AsyncClient("nowhere:1", model="reviews", transport=transport.for_asyncio()) as client:
            return await client.predict(["a", "bc"])

    assert [result.label for result in asyncio.run(ask())] == ["a", "bc"]
    assert len(transport.calls) == 1 and transport.closed


def test_what_the_function_raises_the_client_raises():
    def full(inputs):
        raise Overloaded("no room")

    with pytest.raises(Overloaded, match="no room.*model 'reviews'"):
        Client("nowhere:1", model="reviews", transport=MockTransport(full)).predict("a")


def test_the_version_and_the_label_that_were_asked_for():
    transport = MockTransport(predict)
    for options in ({}, {"version": 3}, {"label": "stable"}):
        Client("nowhere:1", model="reviews", transport=transport, **options).predict("a")
    assert [(call.version, call.label) for call in transport.calls] == [(None, None), (3, None), (None, "stable")]
