"""The REST transport against the embedded server: the same calls as over gRPC, with both clients."""

import http.server
import threading
import time

import numpy as np
import pytest
import serving_models
from rough_servers import free_port

from tfllm.client import rest_codec
from tfllm.client.config import ConnectionConfig
from tfllm.client.inference import ServedModel
from tfllm.client.rest import RestTransport
from tfllm.errors import (
    Cancelled,
    ConfigError,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    ServerError,
    ServerUnavailable,
    Timeout,
    Unimplemented,
)
from tfllm.server.server import serve
from tfllm.wire import messages, tensors


@pytest.fixture(scope="module")
def rest_server(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rest")
    serving_models.write_all(folder)
    for model in ("echo", "mirror"):
        (folder / model).symlink_to(models / model)
    with serve(folder, port=0, rest_api_port=free_port()) as server:
        yield server


@pytest.fixture
def over_rest(rest_server, kind):
    made = []

    def make(model, **options):
        made.append(kind(f"http://127.0.0.1:{rest_server.rest_api_port}", model=model, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def over_grpc(rest_server, kind):
    with kind(rest_server.address, model="toy") as client:
        yield client


def test_texts(over_rest):
    client = over_rest("echo")
    texts = ["abc", "é 漢 \U0001f600", "", "a\0b", "x" * 1000]
    assert [item.label for item in client.predict(texts, batch_size=2)] == texts
    assert client.predict("abc").scores == (3.0, -3.0)
    assert [item.label for item in client.map(texts, batch_size=2)] == texts


SAMPLES = {
    "float32": [1.5, -0.0, np.nan, np.inf, 3.4e38],
    "float64": [1.5, 1e300, -np.inf],
    "bool": [True, False],
    "string": [b"a", b"\xff\0", "é".encode()],
    **{name: [0, np.iinfo(name).max] for name in ("uint8", "uint32", "uint64")},
    **{name: [np.iinfo(name).min, np.iinfo(name).max] for name in ("int8", "int16", "int32", "int64")},
}


@pytest.mark.parametrize("name", SAMPLES)
def test_values_of_each_dtype_come_back(over_rest, name):
    if name == "string":
        array = np.array(SAMPLES[name], object)
    else:
        array = np.array(SAMPLES[name], name)
    found = over_rest("mirror").predict_arrays({"x": array}, signature=name)["y"]
    assert found.dtype == array.dtype and found.shape == (2, *array.shape)
    np.testing.assert_array_equal(found[0], array)


@pytest.mark.parametrize("name", ["float16", "uint16"])
def test_dtypes_that_tensorflow_serving_refuses_over_rest(over_rest, name):
    with pytest.raises(Unimplemented, match="Conversion of JSON"):
        over_rest("mirror").predict_arrays({"x": np.array([1], name)}, signature=name)


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [
        ("serving_default", {"x": np.float32([1, 2])}),
        ("pair", {"a": np.float32([1, 2]), "b": np.float32([3, 4])}),
        ("text", {"text": ["a", "é"]}),
        ("blob", {"text": [b"\xff\0", b"ok"]}),
        ("rows", {"m": np.float32([[1, 2], [3, 4], [5, 6]])}),
        ("scalar", {"x": np.float32([1, 2])}),
        ("uneven", {"x": np.float64([1, -1, 0])}),
    ],
)
def test_answers_are_those_of_grpc(over_rest, over_grpc, signature, inputs):
    rest, grpc = (client.predict_arrays(inputs, signature=signature) for client in (over_rest("toy"), over_grpc))
    assert rest.keys() == grpc.keys()
    for name in rest:
        assert rest[name].dtype == grpc[name].dtype and rest[name].shape == grpc[name].shape
        np.testing.assert_array_equal(rest[name], grpc[name])


def test_chosen_outputs(over_rest):
    inputs = {"a": np.float32([1]), "b": np.float32([3])}
    assert over_rest("toy").predict_arrays(inputs, signature="pair", outputs=["plus"]).keys() == {"plus"}
    with pytest.raises(InvalidInput, match="not found in signature: times"):
        over_rest("toy").predict_arrays(inputs, signature="pair", outputs=["times"])


def test_examples(over_rest):
    classic = over_rest("classic")
    assert classic.classify([{"x": 1.0}], "classify") == [[("no", 3.0), ("yes", -3.0)]]
    assert classic.regress([{"x": 1.0}, {"x": [2.0]}], "regress") == [3.0, 6.0]
    assert classic.regress([{}, {}], "regress", context={"x": 2.0}) == [6.0, 6.0]
    assert classic.predict_arrays({"x": np.float32([[1]])})["y"].tolist() == [[3.0]]


def test_status_metadata_and_readiness(over_rest, over_grpc):
    client = over_rest("toy")
    assert client.status() == over_grpc.status()
    assert client.metadata() == over_grpc.metadata()
    client.wait_until_ready(5)


def test_errors_are_the_same(over_rest):
    with pytest.raises(ModelNotFound, match="nothing"):
        over_rest("nothing").predict("a")
    with pytest.raises(InvalidInput, match="takes x: float32"):
        over_rest("toy").predict_arrays({"y": [1.0]})
    with pytest.raises(ModelNotFound):
        over_rest("toy", version=9).predict_arrays({"x": [1.0]})
    with pytest.raises(InvalidInput, match="complex64 for input 'x'. Use gRPC"):
        over_rest("mirror").predict_arrays({"x": np.complex64([1j])}, signature="complex64")
    with pytest.raises(Unimplemented, match="Use gRPC"):
        over_rest("toy").reload_config([ServedModel("toy", "/toy")])
    client = over_rest("toy")
    client.close()
    with pytest.raises(Cancelled):
        client.status()


def test_the_deadline_holds(over_rest):
    client = over_rest("toy", timeout=0.4)
    client.status()
    start = time.monotonic()
    with pytest.raises(Timeout):
        client.predict_arrays({"seconds": np.float64(1.5)}, signature="slow")
    assert time.monotonic() - start < 0.9


def test_nobody_there(kind):
    with kind(
        f"http://127.0.0.1:{free_port()}", model="m", connection=ConnectionConfig(initial_backoff=0.01)
    ) as client:
        with pytest.raises(ServerUnavailable, match="REST port"):
            client.status()


class Busy(http.server.BaseHTTPRequestHandler):
    """Answers 429 so often before it answers; what it says then is `body`."""

    refusals, asked, body, headers_seen = 0, 0, b"{}", {}

    def do_GET(self):
        type(self).asked += 1
        type(self).headers_seen = dict(self.headers)
        refused = self.asked <= self.refusals
        body = b'{"error": "no room"}' if refused else self.body
        self.send_response(429 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def busy():
    handler = type("Busy", (Busy,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        handler.address = f"http://127.0.0.1:{server.server_address[1]}"
        yield handler
        server.shutdown()


def test_what_may_pass_is_tried_again_and_the_budget_holds(busy, kind):
    busy.refusals, busy.body = 2, b'{"model_version_status": [{"version": "3", "state": "AVAILABLE"}]}'
    settings = ConnectionConfig(initial_backoff=0.01, retry_budget=5, token="t", request_ids=True)
    with kind(busy.address, model="m", connection=settings) as client:
        assert client.status()[0].version == 3 and busy.asked == 3
        assert busy.headers_seen["authorization"] == "Bearer t" and len(busy.headers_seen["x-request-id"]) == 32
        busy.refusals, busy.asked = 10**6, 0
        for _ in range(30):
            with pytest.raises(Overloaded, match="no room"):
                client.status()
    assert busy.asked < 40


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"model_version_status": 5}', b"\xff"])
def test_answers_of_something_else(busy, kind, body):
    busy.body = body
    with kind(busy.address, model="m") as client, pytest.raises(ServerError, match="REST API. Received: b"):
        client.status()


@pytest.mark.parametrize(
    ("address", "settings", "message"),
    [
        ("localhost:8501", {}, "REST address"),
        ("http://localhost:8501", {"hedge_after": 0.1}, "hedge_after. Use gRPC"),
        ("http://localhost:8501", {"keepalive": 400.0, "breaker": 0.5, "refresh": 1.0}, "keepalive, breaker, refresh"),
        ("http://models:8501", {"token": "t"}, "Expected https"),
        ("http://127.evil.example.com:8501", {"token": "t"}, "Expected https"),
        ("http://localhost:x@evil.example.com:8501", {"token": "t"}, "Expected https"),
    ],
)
def test_settings_that_cannot_be_right(address, settings, message):
    with pytest.raises(ConfigError, match=message):
        RestTransport(address, ConnectionConfig(**settings))


@pytest.mark.parametrize(
    "address", ["http://localhost", "http://localhost:8501/", "http://127.0.0.1", "http://[::1]:1"]
)
def test_a_token_may_go_to_this_machine(address):
    RestTransport(address, ConnectionConfig(token="t", keepalive=None, breaker=None, refresh=None)).close()


def test_error_bodies_that_say_nothing():
    error = rest_codec.error_of(418, b"<html>A teapot</html>", "http://a")
    assert error.code == "UNKNOWN" and "HTTP status 418" in error.details
    assert rest_codec.error_of(502, b"<html>Bad gateway</html>", "http://a").code == "UNAVAILABLE"
    assert rest_codec.error_of(409, b'{"error": "x"}', "").code == "ABORTED"


def test_names_in_paths_are_quoted():
    request = messages.PredictRequest(model_spec={"name": "a/b c", "version_label": "é?"})
    tensors.fill(request.inputs["x"], [1])
    assert rest_codec.http_request(messages.PREDICT, request.SerializeToString()).path == (
        "/v1/models/a%2Fb%20c/labels/%C3%A9%3F:predict"
    )
