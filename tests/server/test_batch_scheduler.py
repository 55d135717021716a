"""Batches behind a real server: the same answers as without, bounded, fair, and nothing run for nobody."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig
from tfllm.errors import CallError, ConfigError, FailedPrecondition, InvalidInput, Overloaded, RepositoryError, Timeout
from tfllm.repository import ModelVersion
from tfllm.server.batch_scheduler import BatchScheduler, make_scheduler
from tfllm.server.batching_config import BatchingConfig
from tfllm.server.config import ServerConfig
from tfllm.server.observers import RequestEvent
from tfllm.server.server import serve

AT_ONCE = ConnectionConfig(max_attempts=1)


def parameters(tmp_path, text):
    file = tmp_path / "batching.config"
    file.write_text(text)
    return ServerConfig(enable_batching=True, batching_parameters_file=str(file), grpc_max_threads=64)


class Notes(list):
    on_request = list.append


@pytest.fixture(scope="module")
def batched(models, tmp_path_factory):
    """Return a server that waits 20 ms for others, and what it told."""
    config = parameters(
        tmp_path_factory.mktemp("settings"),
        "max_batch_size { value: 32 } batch_timeout_micros { value: 20000 } num_batch_threads { value: 2 }",
    )
    notes = Notes()
    with serve(models, port=0, rest_api_port=0, version_policy="all", config=config) as server:
        server.observe(notes)
        yield server, notes


CALLS = [
    ("", {"x": np.float32([2, 4])}),
    ("", {"x": np.float32([2])}),
    ("pair", {"a": np.float32([1, 2, 3]), "b": np.float32([3, 2, 1])}),
    ("text", {"text": np.array([b"a", b"\xff\xfe", b""], object)}),
    ("rows", {"m": np.float32([[1, 2], [3, 4]])}),
    ("rows", {"m": np.float32([[1, 2, 3]])}),
    ("picky", {"x": np.float32([1, 2])}),
    ("", {"x": np.float32([])}),
]


def test_the_same_answers_as_without(server, batched):
    with Client(server.address, model="toy") as plain, Client(batched[0].address, model="toy") as client:
        with ThreadPoolExecutor(32) as pool:
            for answers in [
                (pool.submit(client.predict_arrays, inputs, signature or "serving_default"), signature, inputs)
                for signature, inputs in CALLS * 8
            ]:
                expected = plain.predict_arrays(answers[2], answers[1] or "serving_default")
                received = answers[0].result()
                assert expected.keys() == received.keys()
                for name in expected:
                    assert expected[name].dtype == received[name].dtype
                    np.testing.assert_array_equal(expected[name], received[name])


def test_requests_share_batches_and_events_say_so(batched):
    server, notes = batched
    notes.clear()
    with Client(server.address, model="toy") as client, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: client.predict_arrays({"x": np.float32([number])}), range(64)))
    assert max(event.batch_rows for event in notes) > 4
    assert all(0 < event.queue_seconds < event.seconds and event.run_seconds > 0 for event in notes)
    assert {event.rows for event in notes} == {1}


def test_a_bad_request_in_a_batch_fails_alone(batched):
    with Client(batched[0].address, model="toy", connection=AT_ONCE) as client, ThreadPoolExecutor(16) as pool:
        calls = [
            pool.submit(client.predict_arrays, {"x": np.float32([-1 if number == 5 else 1])}, "picky")
            for number in range(12)
        ]
        for number, call in enumerate(calls):
            if number == 5:
                with pytest.raises(InvalidInput, match="must be above zero"):
                    call.result()
            else:
                assert call.result()["y"].tolist() == [1]


def test_what_never_fits_a_batch_is_refused_as_tensorflow_serving_does(batched):
    with Client(batched[0].address, model="toy", connection=AT_ONCE) as client:
        with pytest.raises(FailedPrecondition, match="Batched output tensor has 0 dimensions"):
            client.predict_arrays({"x": np.float32([1])}, "scalar")
        with pytest.raises(InvalidInput, match="Batching Run.. input tensors must have at least one dimension"):
            client.predict_arrays({"seconds": np.float64(0)}, "slow")
        with pytest.raises(InvalidInput, match="must have equal 0th-dimension size"):
            client.predict_arrays({"a": np.float32([1]), "b": np.float32([1, 2])}, "pair")
        with pytest.raises(InvalidInput, match="Task size 33 is larger than maximum input batch size 32"):
            client.predict_arrays({"x": np.zeros(33, np.float32)})


def test_rest_and_other_calls_are_batched_too(batched, rest):
    import http.client
    import json

    connection = http.client.HTTPConnection("127.0.0.1", batched[0].rest_api_port, timeout=30)
    connection.request(
        "POST", "/v1/models/classic:classify", '{"signature_name": "classify", "examples": [{"x": 2.0}]}'
    )
    response = connection.getresponse()
    body = {"signature_name": "classify", "examples": [{"x": 2.0}]}
    assert (response.status, json.loads(response.read())) == rest("POST", "/v1/models/classic:classify", body)
    assert batched[1][-1].batch_rows == 1


class Gate:
    """A step that waits until it is let go, and counts its runs."""

    def __init__(self):
        self.open = threading.Event()
        self.began = threading.Event()
        self.runs = []

    def __call__(self, feeds, fetches, arrays):
        self.runs.append(arrays[0].tolist())
        self.began.set()
        assert self.open.wait(30)
        return [arrays[0]]


@pytest.fixture
def gate(tmp_path):
    """Return a step that waits, and what asks models for it; one batch of two rows may wait for each."""
    scheduler = BatchScheduler(BatchingConfig(max_batch_size=2, max_enqueued_batches=1, num_batch_threads=1))
    gate, batchers, pool = Gate(), {}, ThreadPoolExecutor(16)

    def ask(model, value, **about):
        if model not in batchers:
            batchers[model] = scheduler.batcher(ModelVersion(model, 1, tmp_path), gate)
        event = RequestEvent("Predict", "GRPC", **about)
        return pool.submit(batchers[model].run, {"x": np.array([value])}, ("y",), event)

    yield gate, ask, scheduler
    gate.open.set()
    scheduler.stop()
    pool.shutdown()


def wait_for(scheduler, **rows):
    end = time.monotonic() + 10
    while scheduler.waiting() != rows and time.monotonic() < end:
        time.sleep(0.005)
    assert scheduler.waiting() == rows


def test_models_have_rooms_of_their_own_and_take_turns(gate):
    gate, ask, scheduler = gate
    running = ask("busy", 0)
    assert gate.began.wait(10)
    queued = [ask("busy", 1)]
    wait_for(scheduler, busy=1)
    queued.append(ask("busy", 2))
    wait_for(scheduler, busy=2)
    with pytest.raises(Overloaded, match="2 rows of at most 2 wait for model busy"):
        ask("busy", 3).result(10)
    other = ask("other", 4)
    wait_for(scheduler, busy=2, other=1)
    gate.open.set()
    assert [call.result(10)[0].tolist() for call in (running, *queued, other)] == [[0], [1], [2], [4]]
    assert gate.runs == [[0], [4], [1, 2]]  # the other model has its turn before what came earlier to the busy one


def test_what_nobody_waits_for_is_not_run(gate):
    gate, ask, scheduler = gate
    running, gone = ask("m", 0), threading.Event()
    assert gate.began.wait(10)
    late = ask("m", 1, deadline=time.monotonic() + 0.05)
    cancelled = ask("m", 2, given_up=gone.is_set)
    with pytest.raises(Timeout):
        late.result(10)
    wait_for(scheduler, m=2)
    gone.set()
    gate.open.set()
    with pytest.raises(CallError) as caught:
        cancelled.result(10)
    assert caught.value.code == "CANCELLED"
    running.result(10)
    assert gate.runs == [[0]]


def test_settings_that_contradict_each_other(tmp_path):
    def make(**settings):
        return make_scheduler(ServerConfig(**settings), lambda event: None)

    assert make() is None
    with pytest.raises(ConfigError, match="batching_parameters_file is set without setting"):
        make(batching_parameters_file="x")
    with pytest.raises(ConfigError, match="Expected enable_batching"):
        make(batch_token_budget=5)
    with pytest.raises(ConfigError, match="BatchingParameters"):
        make(enable_batching=True, batching_parameters_file=str(tmp_path / "none"))


def test_parameters_of_a_version(tmp_path, models):
    import shutil

    shutil.copytree(models / "toy" / "2", tmp_path / "toy" / "2")
    file = tmp_path / "toy" / "2" / "batching_params.pbtxt"
    file.write_text("max_batch_size { value: 3 }")
    config = ServerConfig(enable_batching=True, enable_per_model_batching_parameters=True)
    with serve(tmp_path / "toy", port=0, config=config) as server:
        with Client(server.address, model="toy", connection=AT_ONCE) as client:
            with pytest.raises(InvalidInput, match="maximum input batch size 3"):
                client.predict_arrays({"x": np.zeros(4, np.float32)})
    file.write_text("max_batch_size: nonsense")
    with pytest.raises(RepositoryError, match="BatchingParameters"):
        serve(tmp_path / "toy", port=0, config=config)
