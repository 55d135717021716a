"""Canary shares, versions that stay, shadow traffic: against a real server, with both clients."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import serving_models
from rough_servers import free_port

from tfllm.client.aio import AsyncClient
from tfllm.client.aio_transport import GrpcAioTransport
from tfllm.client.client import Client
from tfllm.client.mock import MockTransport
from tfllm.client.rest import RestTransport
from tfllm.client.routing import (
    AsyncCanaryTransport,
    AsyncStickyTransport,
    CanaryTransport,
    StickyTransport,
    with_version,
)
from tfllm.client.shadow import AsyncShadowTransport, ShadowTransport
from tfllm.client.transport import GrpcTransport
from tfllm.errors import ConfigError, ModelNotFound, Overloaded, Timeout, Unimplemented
from tfllm.server.config import ServerConfig
from tfllm.server.server import serve
from tfllm.wire import messages, tensors

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


class Fleet:
    """Servers that take turns, each with some versions; what they were asked is in `heard`."""

    def __init__(self, *versions, late=0.0):
        self.versions = [set(each) for each in versions]
        self.late = late
        self.heard = []
        self.turn = 0

    def call(self, method, request, timeout):
        name = method.rpartition("/")[2]
        spec = messages.GetModelStatusRequest.FromString(request).model_spec
        here = self.versions[self.turn % len(self.versions)]
        self.turn += 1
        version = spec.version.value if spec.HasField("version") else max(here)
        self.heard.append((name, version, timeout))
        time.sleep(self.late)
        if version not in here:
            raise ModelNotFound(f"Servable not found for request: Specific(m, {version})")
        found = {"name": "m", "version": {"value": version}}
        if name == "GetModelMetadata":
            return messages.GetModelMetadataResponse(model_spec=found).SerializeToString()
        response = messages.PredictResponse(model_spec=found)
        tensors.fill(response.outputs["y"], [float(version)])
        return response.SerializeToString()

    def for_asyncio(self):
        return AsyncFleet(self)

    def close(self, grace=0.0):
        pass


class AsyncFleet:
    def __init__(self, fleet):
        self.fleet = fleet

    async def call(self, method, request, timeout):
        await asyncio.sleep(0.01)  # so that others start before the answer is there
        return self.fleet.call(method, request, timeout)


def predictions(fleet):
    return [version for name, version, _ in fleet.heard if name == "Predict"]


def test_all_first_requests_wait_for_the_version():
    fleet = Fleet({1, 2}, late=0.02)
    with Client("nowhere:1", model="m", transport=StickyTransport(fleet)) as client:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.predict_arrays(X), range(16)))
    assert [name for name, _, _ in fleet.heard].count("GetModelMetadata") == 1
    assert fleet.heard[0][0] == "GetModelMetadata" and predictions(fleet) == [2] * 16


def test_all_first_requests_of_an_event_loop_wait_for_the_version():
    fleet = Fleet({1, 2})

    async def ask():
        client = AsyncClient("nowhere:1", model="m", transport=AsyncStickyTransport(fleet.for_asyncio()))
        await asyncio.gather(*(client.predict_arrays(X) for _ in range(16)))
        fleet.versions = [{3}]
        await asyncio.gather(*(client.predict_arrays(X) for _ in range(16)))

    asyncio.run(ask())
    assert [name for name, _, _ in fleet.heard].count("GetModelMetadata") == 2
    assert predictions(fleet)[:16] == [2] * 16 and predictions(fleet)[-16:] == [3] * 16


def test_servers_that_are_updated_do_not_mix_their_versions():
    fleet = Fleet({1}, {1})
    transport = StickyTransport(fleet)
    with Client("nowhere:1", model="m", transport=transport) as client:

        def answers(count):
            return [client.predict_arrays(X)["y"][0] for _ in range(count)]

        assert answers(4) == [1.0] * 4
        fleet.versions[1] = {2}
        assert answers(20) == [1.0] * 20, "still on the other server"
        fleet.versions[0] = {2}
        assert answers(4) == [2.0] * 4
        fleet.versions[0] = {1}
        assert answers(20) == [2.0] * 20
        fleet.versions[1] = {1}
        with pytest.raises(ModelNotFound, match="version 1, which was left less than 60 s ago"):
            answers(1)
        transport._left[1] -= 60
        assert answers(2) == [1.0] * 2, "a rollback is followed in time"


@pytest.mark.parametrize("wrapped", [(StickyTransport, GrpcTransport), (AsyncStickyTransport, GrpcAioTransport)])
def test_two_real_servers_of_different_versions(tmp_path, wrapped):
    folders = [tmp_path / "a", tmp_path / "b"]
    for version, folder in enumerate(folders, 1):
        serving_models.write_toy(folder, version, 100.0 * version)
    with serve(folders[0], port=0) as first, serve(folders[1], port=0) as second:
        address = f"{first.address},{second.address}"
        sticky, transport = wrapped

        async def ask():
            client = AsyncClient(address, model="toy", transport=sticky(transport(address)))
            async with client:
                return {(await client.predict_arrays(X))["y"][0] for _ in range(30)}

        if sticky is AsyncStickyTransport:
            found = asyncio.run(ask())
        else:
            with Client(address, model="toy", transport=sticky(transport(address))) as client:
                found = {client.predict_arrays(X)["y"][0] for _ in range(30)}
    assert found in ({101.0}, {201.0})


def test_the_tries_share_one_timeout():
    fleet = Fleet({1}, late=0.1)
    transport = StickyTransport(fleet)
    transport.version = 7
    with Client("nowhere:1", model="m", transport=transport, timeout=5.0) as client:
        client.predict_arrays(X)
    timeouts = [timeout for _, _, timeout in fleet.heard]
    assert len(timeouts) > 3
    assert all(later <= earlier - 0.09 for earlier, later in zip(timeouts, timeouts[1:], strict=False))
    transport.version = 7
    with Client("nowhere:1", model="m", transport=transport, timeout=0.25) as client, pytest.raises(Timeout):
        client.predict_arrays(X)


def test_examples_are_kept_to_the_version_too():
    fleet = Fleet({1, 2})
    request = messages.ClassificationRequest(model_spec={"name": "m"})
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    for method in (messages.CLASSIFY, messages.REGRESS):
        StickyTransport(fleet).call(method, request.SerializeToString(), 1.0)
    assert [(name, version) for name, version, _ in fleet.heard[1::2]] == [("Classify", 2), ("Regress", 2)]


def test_the_version_stays_over_rest(tmp_path):
    serving_models.write_toy(tmp_path, 1, 1.0)
    config = ServerConfig(file_system_poll_wait_seconds=0.1)
    with serve(tmp_path, port=0, rest_api_port=free_port(), version_policy="all", config=config) as server:
        address = f"http://127.0.0.1:{server.rest_api_port}"
        transport = StickyTransport(RestTransport(address))
        with Client(address, model="toy", transport=transport) as client:
            assert client.predict_arrays(X)["y"].tolist() == [FIRST] and transport.version == 1
            serving_models.write_toy(tmp_path, 2, 100.0)
            with Client(server.address, model="toy", version=2) as direct:
                direct.wait_until_ready(60)
            assert client.predict_arrays(X)["y"].tolist() == [FIRST]


def test_what_is_no_prediction_goes_to_stable_and_is_not_counted():
    stable, canary = (MockTransport(lambda inputs: {"y": [0]}, version=version) for version in (1, 2))
    transport = CanaryTransport(stable, canary, share=1.0)
    with Client("nowhere:1", model="m", transport=transport) as client:
        assert client.status()[0].version == 1 and transport.counts == [0, 0]
        with pytest.raises(Unimplemented, match="ReloadConfig"):
            client.reload_config([])
        client.predict_arrays(X)
    assert transport.counts == [0, 1] and len(canary.calls) == 1


def test_several_servers_are_not_reloaded():
    with Client("a:1,b:1", model="m", transport=MockTransport(lambda inputs: {})) as client:
        with pytest.raises(ConfigError, match="one server to reload. Received: a:1,b:1. Open a client for each"):
            client.reload_config([])


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
        assert with_version(messages.GET_MODEL_STATUS, request, 5, None) == request
    tasks = [{"model_spec": {"name": "m", "version_label": "a", "signature_name": name}} for name in "st"]
    request = messages.MultiInferenceRequest(tasks=tasks).SerializeToString()
    changed = messages.MultiInferenceRequest.FromString(with_version(messages.MULTI_INFERENCE, request, 5, None)).tasks
    assert [(task.model_spec.version.value, task.model_spec.signature_name) for task in changed] == [(5, "s"), (5, "t")]


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
