"""Canary shares, versions that stay, shadow traffic: against a real server, with both clients."""

import asyncio
import time

import numpy as np
import pytest
import serving_models

from tfllm.client.aio import AsyncClient
from tfllm.client.aio_transport import GrpcAioTransport
from tfllm.client.client import Client
from tfllm.client.mock import MockTransport
from tfllm.client.routing import (
    AsyncCanaryTransport,
    AsyncStickyTransport,
    CanaryTransport,
    StickyTransport,
    with_version,
)
from tfllm.client.shadow import AsyncShadowTransport, ShadowTransport
from tfllm.client.transport import GrpcTransport
from tfllm.errors import ConfigError, Overloaded
from tfllm.server.server import serve
from tfllm.wire import messages

X = {"x": np.float32([2])}
FIRST, SECOND = 2.0, 101.0  # what versions 1 and 2 of the toy answer


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("routing")
    serving_models.write_toy(folder, 1, 1.0)
    serving_models.write_toy(folder, 2, 100.0)
    with serve(folder, port=0, version_policy="all") as server:
        yield server.address


@pytest.fixture(params=["sync", "async"])
def ask(request, toy):
    """Return a function that sends requests through a routed transport, and returns the answers and the transport."""
    sync = request.param == "sync"
    classes = {"canary": (CanaryTransport, AsyncCanaryTransport), "sticky": (StickyTransport, AsyncStickyTransport)}
    classes["shadow"] = (ShadowTransport, AsyncShadowTransport)

    def run(kind, requests, **options):
        transport = classes[kind][not sync](GrpcTransport(toy) if sync else GrpcAioTransport(toy), **options)
        if sync:
            with Client(toy, model="toy", transport=transport) as client:
                answers = [client.predict_arrays(item)["y"].tolist() for item in requests]
                settle(transport)
            return answers, transport

        async def run_async():
            async with AsyncClient(toy, model="toy", transport=transport) as client:
                answers = [(await client.predict_arrays(item))["y"].tolist() for item in requests]
                while waiting(transport):
                    await asyncio.sleep(0.01)
            return answers

        return asyncio.run(run_async()), transport

    return run


def waiting(transport):
    return hasattr(transport, "report") and transport.report.waiting


def settle(transport):
    end = time.monotonic() + 10
    while waiting(transport) and time.monotonic() < end:
        time.sleep(0.01)


def test_a_share_goes_to_the_canary_and_a_request_stays_where_it_was(ask):
    requests = [{"x": np.float32([number])} for number in range(400)]
    answers, transport = ask("canary", [*requests, *requests], version=1, share=0.25)
    sides = [answer[0] - number / 2 for answer, number in zip(answers, [*range(400)] * 2, strict=True)]
    assert set(sides) == {1.0, 100.0}
    assert sides[:400] == sides[400:]
    assert 70 <= sides[:400].count(1.0) <= 130
    assert transport.counts == [sides.count(100.0), sides.count(1.0)]


@pytest.mark.parametrize(("share", "expected"), [(0, SECOND), (1, FIRST)])
def test_the_ends_of_the_share(ask, share, expected):
    assert ask("canary", [X] * 3, version=1, share=share)[0] == [[expected]] * 3


def test_a_canary_of_its_own_address():
    stable, canary = (MockTransport(lambda inputs, side=side: {"y": [side]}) for side in (0, 1))
    with Client("nowhere:1", model="m", transport=CanaryTransport(stable, canary, share=0.5)) as client:
        sides = [int(client.predict_arrays({"x": [number]})["y"][0]) for number in range(100)]
    assert {len(stable.calls), len(canary.calls)} == {sides.count(0), sides.count(1)} and 30 < sum(sides) < 70
    assert stable.closed and canary.closed


@pytest.mark.parametrize("options", [{"share": 2, "label": "x"}, {"share": 0.5}])
def test_canaries_that_cannot_be_right(options):
    with pytest.raises(ConfigError, match="Expected"):
        CanaryTransport(MockTransport(lambda inputs: inputs), **options)


def test_the_version_that_answered_first_answers_on(ask):
    answers, transport = ask("sticky", [X, X])
    assert answers == [[SECOND]] * 2 and transport.version == 2


def test_a_version_that_is_gone_is_left(toy):
    transport = StickyTransport(GrpcTransport(toy))
    with Client(toy, model="toy", transport=transport) as client:
        transport.version = 1
        assert client.predict_arrays(X)["y"].tolist() == [FIRST]
        transport.version = 77
        assert client.predict_arrays(X)["y"].tolist() == [SECOND]
        assert transport.version == 2
        assert client.metadata().version == 2


def test_requests_are_changed_by_what_is_appended():
    for spec in ({"name": "m"}, {"name": "m", "version_label": "a"}, {"name": "m", "version": {"value": 1}}):
        request = messages.PredictRequest(model_spec={**spec, "signature_name": "s"}).SerializeToString()
        changed = messages.PredictRequest.FromString(with_version(messages.PREDICT, request, 5, None)).model_spec
        assert (changed.name, changed.signature_name, changed.version.value) == ("m", "s", 5)
        changed = messages.PredictRequest.FromString(with_version(messages.PREDICT, request, None, "b")).model_spec
        assert changed.WhichOneof("version_choice") == "version_label" and changed.version_label == "b"
        assert with_version(messages.MULTI_INFERENCE, request, 5, None) == request


def test_the_shadow_is_compared_and_never_answers(ask):
    found = []
    answers, transport = ask("shadow", [X] * 5, version=1, on_difference=found.append)
    assert answers == [[SECOND]] * 5
    assert repr(transport.report) == "ShadowReport(same=0, different=5, failed=0, dropped=0)"
    assert found[0].outputs == {"y": "up to 99 apart"}
    assert found[0].answer["y"].tolist() == [SECOND] and found[0].shadow_answer["y"].tolist() == [FIRST]


def test_a_shadow_that_agrees_and_one_that_fails(ask):
    assert ask("shadow", [X] * 3)[1].report.same == 3
    answers, transport = ask("shadow", [X] * 3, version=99)
    assert answers == [[SECOND]] * 3 and transport.report.failed == 3
    assert "NOT_FOUND" in str(transport.report.last_error)


def test_a_shadow_that_is_too_slow_is_left_out():
    main = MockTransport(lambda inputs: {"y": inputs["x"]})
    slow = MockTransport(lambda inputs: time.sleep(0.2) or {"y": inputs["x"]})
    transport = ShadowTransport(main, slow, most_waiting=2)
    with Client("nowhere:1", model="m", transport=transport) as client:
        start = time.monotonic()
        for _ in range(10):
            client.predict_arrays({"x": [1]})
        assert time.monotonic() - start < 0.2
        settle(transport)
    assert (transport.report.same, transport.report.dropped) == (2, 8)


@pytest.mark.parametrize(
    ("shadow", "outputs"),
    [
        ({"label": ["a"], "score": [0.5]}, {}),
        ({"label": ["a"], "score": [0.5000001]}, {}),
        ({"label": ["b"], "score": [0.5]}, {"label": "1 of 1 values"}),
        ({"label": ["a"]}, {"score": "in one of the answers only"}),
        ({"label": ["a"], "score": [[0.5]]}, {"score": "float64 [1] and float64 [1, 1]"}),
    ],
)
def test_what_differs(shadow, outputs):
    found = []
    main = MockTransport(lambda inputs: {"label": ["a"], "score": [0.5]})
    transport = ShadowTransport(main, MockTransport(lambda inputs: shadow), on_difference=found.append)
    with Client("nowhere:1", model="m", transport=transport) as client:
        client.predict_arrays({"x": [1]})
        settle(transport)
        assert client.status()[0].version == 1
    assert [item.outputs for item in found] == ([outputs] if outputs else [])


def test_an_error_of_the_main_one_is_not_shadowed():
    def full(inputs):
        raise Overloaded("no room")

    shadow = MockTransport(lambda inputs: inputs)
    with Client("nowhere:1", model="m", transport=ShadowTransport(MockTransport(full), shadow)) as client:
        with pytest.raises(Overloaded):
            client.predict_arrays({"x": [1]})
    assert not shadow.calls
