"""What observers are told of requests over gRPC and REST."""

import numpy as np
import pytest

from tfllm.client.client import Client
from tfllm.errors import InvalidInput, ModelNotFound
from tfllm.server.observers import Observers, RequestEvent, current_event
from tfllm.server.server import serve


class Notes(list):
    on_request = list.append


@pytest.fixture(scope="module")
def told(models):
    notes = Notes()
    with serve(models, port=0, rest_api_port=0) as server:
        server.observe(notes)
        yield server, notes


@pytest.fixture
def client(told):
    server, notes = told
    notes.clear()
    with Client(server.address, model="toy") as open_client:
        yield open_client


def test_a_predict_call(client, told):
    client.predict_arrays({"x": np.float32([2, 4])})
    (event,) = told[1]
    assert (event.method, event.entrypoint, event.caller) == ("Predict", "GRPC", "127.0.0.1")
    assert (event.model, event.version, event.signature) == ("toy", 2, "serving_default")
    assert (event.rows, event.batch_rows, event.status) == (2, 2, "OK")
    assert event.request_bytes > 8 and event.response_bytes > 8
    assert 0 < event.run_seconds < event.seconds and 0 < event.queue_seconds < event.seconds
    assert event.inputs["x"].tolist() == [2, 4] and event.outputs["y"].tolist() == [101, 102]
    assert event.request.model_spec.name == event.response.model_spec.name == "toy"
    assert event.deadline > event.arrived and "user-agent" in event.metadata


def test_refused_calls(client, told):
    with pytest.raises(InvalidInput):
        client.predict_arrays({"x": np.float64([2])})
    with pytest.raises(ModelNotFound):
        with Client(told[0].address, model="nope") as other:
            other.predict_arrays({"x": np.float32([2])})
    wrong, unknown = [event for event in told[1] if event.method == "Predict"]
    assert (wrong.model, wrong.status) == ("toy", "INVALID_ARGUMENT")
    assert (unknown.model, unknown.status) == ("nope", "NOT_FOUND")
    assert unknown.message == "Servable not found for request: Latest(nope)"
    assert unknown.version is None and unknown.response is None


def test_rest_requests(told):
    import http.client

    server, notes = told
    notes.clear()
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=10)
    for method, path, body in (
        ("POST", "/v1/models/toy:predict", b'{"instances": [2]}'),
        ("POST", "/v1/models/toy:predict", b"{"),
        ("GET", "/v1/models/toy", None),
        ("GET", "/v1/models/toy/metadata", None),
        ("GET", "/v1/nothing", None),
        ("GET", "/healthz", None),
    ):
        connection.request(method, path, body)
        connection.getresponse().read()
    assert [(event.method, event.model, event.status) for event in notes] == [
        ("Predict", "toy", "OK"),
        ("Predict", "", "INVALID_ARGUMENT"),
        ("GetModelStatus", "toy", "OK"),
        ("GetModelMetadata", "toy", "OK"),
        ("", "", "INVALID_ARGUMENT"),
    ]
    assert {event.entrypoint for event in notes} == {"REST"}
    assert notes[0].request == b'{"instances": [2]}' and notes[0].request_bytes == 18
    assert notes[0].rows == 1 and notes[0].outputs["y"].tolist() == [101]


def test_an_observer_that_fails_is_logged_and_the_next_is_told(caplog):
    class Broken:
        def on_request(self, event):
            raise KeyError("a bug")

    notes = Notes()
    Observers([Broken(), notes]).tell(RequestEvent("Predict", "GRPC"))
    assert len(notes) == 1
    assert "Broken failed" in caplog.text


def test_outside_of_a_request_notes_go_nowhere():
    current_event().rows = 5
    assert current_event().rows == 0


def test_who_records_reports_to_who_counts_records_whoever_comes_first():
    class Counter(Notes):
        def on_record(self, model, status):
            self.append((model, status))

    class Source(Notes):
        def report_to(self, observer):
            self.append(observer)

    before, source, after = Counter(), Source(), Counter()
    observers = Observers([before, Notes(), source])
    observers.add(after)
    assert list(map(id, source)) == [id(before), id(after)]
