"""Long calls: order, back-pressure, what is left of a call of which a part failed."""

import asyncio
import contextvars
import pickle
import threading
import time

import numpy as np
import pandas as pd
import pytest

from tfllm.client import bulk
from tfllm.client.aio import AsyncClient
from tfllm.client.bulk import Collected, Outcome
from tfllm.client.calls import Chunk
from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig
from tfllm.client.transport import GrpcTransport
from tfllm.errors import (
    CallError,
    ConfigError,
    InvalidInput,
    MissingColumn,
    ModelNotFound,
    Overloaded,
    PartialFailure,
    ServerError,
    Timeout,
)
from tfllm.results import Classification


def labels(results):
    return [result.label for result in results]


def chunk(first, count=2):
    return Chunk(first, count, b"")


def answer(first, count=2):
    return Outcome(chunk(first, count), [Classification(str(row), 1.0) for row in range(first, first + count)])


def failure(first, error, count=2):
    return Outcome(chunk(first, count), error=error)


def test_all_results():
    collected = Collected()
    assert collected.add(answer(0)) and collected.add(answer(2, 1))
    assert labels(collected.results()) == ["0", "1", "2"]


def test_a_part_that_fails_leaves_the_others():
    collected = Collected()
    assert collected.add(answer(0))
    assert collected.add(failure(2, ServerError("oh", model="m", address="a:1")))
    assert collected.add(answer(4))
    with pytest.raises(PartialFailure) as caught:
        collected.results()
    error = caught.value
    assert isinstance(error, ServerError) and isinstance(error, CallError) and error.code == "INTERNAL"
    assert sorted(error.failed) == [2, 3] and error.failed[2].details == "oh"
    assert [result and result.label for result in error.results] == ["0", "1", None, None, "4", "5"]
    assert error.not_sent is None and (error.model, error.address) == ("m", "a:1")
    assert "2 rows failed (the first is row 2), 4 have their results" in str(error)


def test_if_all_fail_the_first_error_is_raised_as_it_is():
    collected, error = Collected(), ServerError("oh")
    assert collected.add(failure(0, error)) and collected.add(failure(2, ServerError("later")))
    with pytest.raises(ServerError) as caught:
        collected.results()
    assert caught.value is error


@pytest.mark.parametrize("error", [Timeout("late"), ModelNotFound("gone")])
def test_some_errors_end_the_call(error):
    collected = Collected()
    assert collected.add(answer(0))
    assert not collected.add(failure(2, error))
    with pytest.raises(type(error)) as caught:
        collected.results()
    assert caught.value.not_sent == 4 and isinstance(caught.value, PartialFailure)


@pytest.mark.parametrize("items, not_sent", [("abcd", None), ("abcde", 4), (iter("abcd"), 4)])
def test_what_was_not_sent_is_known_where_there_is_a_length(items, not_sent):
    collected = Collected(items)
    collected.add(answer(0))
    collected.add(failure(2, Timeout("late")))
    with pytest.raises(Timeout) as caught:
        collected.results()
    assert caught.value.not_sent == not_sent


def test_three_failures_in_a_row_end_the_call():
    collected = Collected()
    assert collected.add(answer(0))
    assert collected.add(failure(2, Overloaded("no")))
    assert collected.add(failure(4, Overloaded("no")))
    assert collected.add(answer(6))
    assert [collected.add(failure(first, Overloaded("no"))) for first in (8, 10, 12)] == [True, True, False]


def test_a_partial_failure_survives_pickle():
    collected = Collected()
    collected.add(answer(0))
    collected.add(failure(2, ServerError("oh", model="m")))
    with pytest.raises(PartialFailure) as caught:
        collected.results()
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is type(caught.value) and str(copy) == str(caught.value)
    assert copy.results == caught.value.results and sorted(copy.failed) == [2, 3]


def test_no_more_than_concurrency_requests_are_under_way():
    under_way, most, lock = 0, 0, threading.Lock()

    def ask(asked):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.005 * (asked.first % 3))
        with lock:
            under_way -= 1
        return answer(asked.first, 1)

    outcomes = bulk.in_order(ask, (chunk(first, 1) for first in range(40)), 5)
    assert [outcome.chunk.first for outcome in outcomes] == list(range(40))
    assert 1 < most <= 5


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_order_is_kept(client, concurrency):
    texts = [f"text {number}" for number in range(500)]
    assert labels(client.predict(texts, batch_size=7, concurrency=concurrency)) == texts
    assert labels(client.map(texts, batch_size=7, concurrency=concurrency)) == texts


def test_a_stream_reads_its_source_as_it_is_read(client):
    taken = []

    def source():
        for number in range(10_000):
            taken.append(number)
            yield str(number)

    stream = client.map(source(), batch_size=10, concurrency=3)
    assert next(stream).label == "0"
    assert len(taken) <= 10 * (3 + 1)
    stream.close()


def test_a_stream_has_no_deadline_for_the_whole(client_for):
    client = client_for(signature="slow", timeout=1.5)
    assert len(list(client.map(["a"] * 24, batch_size=1, concurrency=1))) == 24


def test_what_fails_in_a_stream_is_raised_or_given_in_its_place(client_for):
    client = client_for(signature="picky")
    texts = ["a", "b", "bad", "c", "d"]
    with pytest.raises(PartialFailure) as caught:
        list(client.map(texts, batch_size=1))
    assert sorted(caught.value.failed) == [2] and isinstance(caught.value, InvalidInput)
    rows = list(client.map(texts, batch_size=1, on_error="yield"))
    assert [row.code if isinstance(row, CallError) else row.label for row in rows] == [
        "a",
        "b",
        "INVALID_ARGUMENT",
        "c",
        "d",
    ]


def test_one_bad_request_does_not_lose_the_others(client_for):
    texts = [str(number) for number in range(100)]
    texts[45] = "bad"
    with pytest.raises(PartialFailure) as caught:
        client_for(signature="picky").predict(texts, batch_size=10)
    error = caught.value
    assert sorted(error.failed) == list(range(40, 50)) and isinstance(error, InvalidInput)
    assert labels(result for result in error.results if result) == texts[:40] + texts[50:]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_one_item_that_is_no_text_does_not_lose_the_others(client, concurrency):
    texts = [f"text {number}" for number in range(1000)]
    with pytest.raises(PartialFailure, match="item 700 of type NoneType") as caught:
        client.predict([*texts[:700], None, *texts[700:]], concurrency=concurrency)
    error = caught.value
    assert isinstance(error, InvalidInput) and sorted(error.failed) == list(range(640, 704))
    assert labels(result for result in error.results if result) == texts[:640] + texts[703:]
    rows = list(client.map([*texts[:700], None], batch_size=10, concurrency=concurrency, on_error="yield"))
    assert labels(rows[:700]) == texts[:700] and isinstance(rows[700], InvalidInput) and len(rows) == 701


def test_one_large_item_does_not_lose_the_others_of_a_few(client_for):
    client = client_for(connection=ConnectionConfig(max_request_bytes=1000))
    with pytest.raises(PartialFailure, match="item 2 needs") as caught:
        client.predict(["a", "b", "x" * 2000, "c"])
    assert [result and result.label for result in caught.value.results] == ["a", "b", None, "c"]


def test_a_choice_that_is_none_is_refused(client):
    with pytest.raises(ConfigError, match="Expected 'raise' or 'yield'. Received: on_error='riase'"):
        list(client.map(["a"], on_error="riase"))


def test_what_was_answered_comes_before_an_error_of_the_source(client):
    def source():
        for number in range(25):
            yield str(number)
        raise OSError("the disk is gone")

    found = []
    with pytest.raises(OSError, match="the disk is gone"):
        for result in client.map(source(), batch_size=5, concurrency=3):
            found.append(result.label)
    assert found == [str(number) for number in range(25)]


def test_what_is_there_is_yielded_before_the_source_is_read_on(server):
    with Client(server.address, model="echo") as client:
        taken = []

        def source():
            for number in range(100):
                taken.append(number)
                time.sleep(0.3)
                yield str(number)

        stream = client.map(source(), batch_size=1, concurrency=50)
        assert next(stream).label == "0" and len(taken) < 25
        stream.close()


def test_a_live_source_does_not_keep_results_back(server):
    async def ask():
        more = asyncio.Event()

        async def source():
            yield "first"
            yield "second"
            await more.wait()
            yield "last"

        async with AsyncClient(server.address, model="echo", timeout=60) as client:
            stream = client.map(source(), batch_size=1, concurrency=8)
            async with asyncio.timeout(30):
                early = [(await anext(stream)).label, (await anext(stream)).label]
            more.set()
            return early, [result.label async for result in stream]

    assert asyncio.run(ask()) == (["first", "second"], ["last"])


def test_an_abandoned_stream_leaves_no_task(server):
    async def ask():
        async def source():
            while True:
                yield "a"
                await asyncio.sleep(0.01)

        async with AsyncClient(server.address, model="echo") as client:
            stream = client.map(source(), batch_size=1)
            await anext(stream)
            await stream.aclose()
            return len(asyncio.all_tasks())

    assert asyncio.run(ask()) == 1


def test_requests_have_the_caller_s_context(server):
    span = contextvars.ContextVar("span", default="none")
    heard = []

    class Heard(GrpcTransport):
        def call(self, method, request, timeout):
            heard.append(span.get())
            return super().call(method, request, timeout)

    with Client(server.address, model="echo", transport=Heard(server.address)) as client:
        span.set("mine")
        client.predict(["a"] * 10, batch_size=1)
        list(client.map(["a"] * 10, batch_size=1))
    assert heard == ["mine"] * 20


def test_a_timeout_keeps_what_was_answered(client_for):
    with pytest.raises(Timeout) as caught:
        client_for(signature="slow", timeout=0.8).predict(["a"] * 40, batch_size=1, concurrency=1)
    assert isinstance(caught.value, PartialFailure)
    assert caught.value.results[0].label == "a" and caught.value.results[-1] is None
    assert caught.value.not_sent == len(caught.value.results) < 40


def test_large_rows_are_sent_in_small_requests(client_for):
    client = client_for(connection=ConnectionConfig(max_request_bytes=10_000))
    texts = [chr(ord("a") + number % 26) * (number * 37 % 6000) for number in range(60)]
    assert labels(client.predict(texts)) == texts
    with pytest.raises(InvalidInput, match="item 1 needs"):
        client.predict(["a", "x" * 20_000])


@pytest.mark.parametrize("texts", ["abc", b"abc", 5, {"text": "a"}])
def test_a_stream_of_no_texts_is_refused(client, texts):
    with pytest.raises(InvalidInput):
        next(client.map(texts))


def test_sizes_that_cannot_be_right(client):
    with pytest.raises(ConfigError, match="concurrency=0"):
        client.predict(["a"], concurrency=0)
    with pytest.raises(ConfigError, match="batch_size=0"):
        next(client.map(["a"], batch_size=0))


def test_an_asynchronous_source(server):
    async def source():
        for number in range(100):
            await asyncio.sleep(0)
            yield str(number)

    async def ask():
        async with AsyncClient(server.address, model="echo") as client:
            streamed = [result.label async for result in client.map(source(), batch_size=7)]
            return streamed, labels(await client.predict(source(), batch_size=7))

    expected = [str(number) for number in range(100)]
    assert asyncio.run(ask()) == (expected, expected)


def test_many_tasks_share_a_client(server):
    async def ask():
        async with AsyncClient(server.address, model="echo") as client:
            return await asyncio.gather(*(client.predict([str(number)] * 3, batch_size=2) for number in range(200)))

    assert [labels(found) for found in asyncio.run(ask())] == [[str(number)] * 3 for number in range(200)]


def test_to_frame(client):
    frame = pd.DataFrame({"review": ["ab", "c"], "stars": [1, 2]}, index=[7, 3])
    found = client.to_frame(frame, text="review")
    assert list(frame.columns) == ["review", "stars"]
    assert list(found.columns) == ["review", "stars", "label", "score"]
    assert found.index.tolist() == [7, 3]
    assert found["label"].tolist() == ["ab", "c"] and found["score"].tolist() == [2.0, 1.0]
    assert client.to_frame(frame[:0], text="review").columns.tolist() == found.columns.tolist()


def test_to_frame_with_pairs_and_names_that_are_taken(client_for):
    frame = pd.DataFrame({"a": ["x"], "b": ["y"], "label": ["gold"]})
    client = client_for(signature="pairs")
    with pytest.raises(ConfigError, match="Received: label. Give them other names, for example prefix='predicted_'"):
        client.to_frame(frame, "a", "b")
    found = client.to_frame(frame, "a", "b", prefix="predicted_")
    assert found.loc[0].to_dict() == {
        "a": "x",
        "b": "y",
        "label": "gold",
        "predicted_label": "x|y",
        "predicted_score": 3.0,
    }


def test_names_that_are_taken_are_told_before_a_text_is_sent(server):
    heard = []

    class Heard(GrpcTransport):
        def call(self, method, request, timeout):
            heard.append(method.rpartition("/")[2])
            return super().call(method, request, timeout)

    frame = pd.DataFrame({"a": ["x"], "score": [1]})
    with Client(server.address, model="echo", transport=Heard(server.address)) as client:
        for _ in range(2):
            with pytest.raises(ConfigError, match="columns that are added .label, score.. Received: score"):
                client.to_frame(frame, "a")
        assert heard == ["GetModelMetadata"], "looked up once"
        assert list(client.to_frame(frame.rename(columns={"score": "value"}), "a")) == ["a", "value", "label", "score"]
        assert heard == ["GetModelMetadata", "Predict"]


def test_to_frame_names_what_is_missing(client):
    frame = pd.DataFrame({"review": ["a", None]})
    with pytest.raises(MissingColumn, match="Did you mean 'review'"):
        client.to_frame(frame, text="reviews")
    with pytest.raises(InvalidInput, match="item 1 of type"):
        client.to_frame(frame, text="review")


def test_to_frame_of_no_rows_has_the_columns_of_the_model(client_for):
    none = pd.DataFrame({"review": []})
    assert list(client_for(signature="embed").to_frame(none, "review")) == ["review", "embedding"]
    found = client_for().to_frame(none, "review", prefix="p_")
    assert list(found) == ["review", "p_label", "p_score"] and len(found) == 0
    with pytest.raises(ConfigError, match="Received: embedding"):
        client_for(signature="embed").to_frame(none.assign(embedding=[]), "review")


def test_a_bar_appears_where_it_is_wanted(client, capsys):
    texts = ["a"] * 50
    client.predict(texts, batch_size=10, progress=True)
    assert "50/50" in capsys.readouterr().err
    client.predict(texts, batch_size=10)
    client.predict(np.array(texts), progress=False)
    assert capsys.readouterr().err == ""
