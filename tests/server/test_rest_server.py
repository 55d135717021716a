"""What the web server below the REST API takes and gives: limits, compression, start and stop."""

import gzip
import http.client
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from tfllm.errors import ConfigError
from tfllm.server.config import ServerConfig
from tfllm.server.observers import Observers
from tfllm.server.rest_api import Answer, RestApi
from tfllm.server.rest_server import RestServer
from tfllm.server.server import serve

TOY = "/v1/models/toy:predict"


def ask(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_compressed_bodies_both_ways(server):
    body = gzip.compress(json.dumps({"instances": [2.0] * 1000}).encode())
    headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    status, answered, text = ask(server.rest_api_port, "POST", TOY, body, headers)
    assert (status, answered["Content-Encoding"]) == (200, "gzip")
    assert json.loads(gzip.decompress(text)) == {"predictions": [101.0] * 1000}
    assert ask(server.rest_api_port, "GET", "/v1/models/toy", None, headers)[1]["Content-Encoding"] is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_is_not_what_its_encoding_says(server, encoding, caplog):
    for body in (b'{"instances": [1.0]}', gzip.compress(b'{"instances": [1.0]}')[:-8] + bytes(8), b"\x1f\x8b"):
        status, _, text = ask(server.rest_api_port, "POST", TOY, body, {"Content-Encoding": encoding})
        assert status == 400
        assert json.loads(text)["error"]
    assert json.loads(text)["error"].startswith(("Request body cannot be read", "JSON Parse error"))
    assert not caplog.records


def test_a_damaged_body_that_is_refused_unread_is_logged_nowhere(server, caplog):
    with socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=30) as raw:
        raw.sendall(b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip..")
        answer = b""
        while piece := raw.recv(1000):  # until the server has read what was left, and closed
            answer += piece
    assert answer.startswith(b"HTTP/1.1 404 ") and not caplog.records


def test_a_body_that_is_no_gzip_says_so(server):
    text = ask(server.rest_api_port, "POST", TOY, b'{"instances": [1.0]}', {"Content-Encoding": "gzip"})[2]
    message = "Request body cannot be read: it is not what its Content-Encoding or its length says."
    assert json.loads(text) == {"error": message}


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_caller_that_leaves_is_told_to_observers(models, tmp_path):
    """While its graph runs, and while its body is on the way."""
    notes = []
    audit = tmp_path / "audit.log"
    with serve(models / "toy", port=0, rest_api_port=0, config=ServerConfig(audit_log_file=str(audit))) as server:
        server.observe(SimpleNamespace(on_request=notes.append))
        gone = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=30)
        gone.request("POST", TOY, '{"signature_name": "slow", "inputs": 3.0}')
        wait_for(lambda: 'tfllm_requests_in_flight{model_name="toy"} 1' in server.metrics.text())
        gone.close()
        wait_for(lambda: notes)
        with socket.create_connection(("127.0.0.1", server.rest_api_port)) as raw:
            raw.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
            wait_for(lambda: server._rest._under_way == 1)
        wait_for(lambda: len(notes) == 2)
        text = server.metrics.text()
    ran, came = notes
    assert (ran.method, ran.model, ran.status, ran.entrypoint) == ("Predict", "toy", "CANCELLED", "REST")
    assert (came.method, came.status, came.message) == ("", "CANCELLED", "The caller gave the request up.")
    assert ':tensorflow:serving:request_count{model_name="toy",status="CANCELLED"} 1' in text
    assert 'tfllm_requests_refused_total{model_name="toy",status="CANCELLED"} 1' in text
    assert [json.loads(line)["status"] for line in audit.read_text().splitlines()] == ["CANCELLED", "CANCELLED"]


def test_a_request_that_takes_too_long(models):
    config = ServerConfig(rest_api_timeout_in_ms=300)
    with serve(models / "toy", port=0, rest_api_port=0, config=config) as server:
        body = '{"signature_name": "slow", "inputs": 1.0}'
        start = time.monotonic()
        status, _, text = ask(server.rest_api_port, "POST", TOY, body)
        assert time.monotonic() - start < 0.9
        assert (status, json.loads(text)) == (504, {"error": "Timed out waiting for notification"})


def test_a_body_over_the_limit_is_refused():
    with serve_fake(lambda *request: Answer(200, b""), max_request_bytes=1000) as port:
        assert ask(port, "POST", TOY, b"x" * 900)[0] == 200
        status, _, text = ask(port, "POST", TOY, b"x" * 1100)
        assert status == 413
        assert json.loads(text) == {"error": "Request body is larger than 1000 bytes."}


class serve_fake:
    def __init__(self, answer, **settings):
        api = RestApi(None, lambda: False)
        api.answer = answer
        self.server = RestServer(api, host="127.0.0.1", port=0, config=ServerConfig(**settings), observers=Observers())

    def __enter__(self):
        return self.server.port

    def __exit__(self, *error):
        self.server.stop(1)
        self.server.stop(1)


def test_a_failure_inside_is_500_and_logged(caplog):
    def broken(method, path, body, event):
        raise KeyError("a bug")

    with serve_fake(broken) as port:
        status, _, text = ask(port, "GET", "/v1/models/toy")
    assert (status, json.loads(text)) == (500, {"error": "KeyError: 'a bug'"})
    assert "GET /v1/models/toy failed" in caplog.text


def test_not_ready_until_the_models_are_loaded():
    with serve_fake(None) as port:
        assert ask(port, "GET", "/healthz")[0] == 200
        assert ask(port, "GET", "/readyz")[0] == 503


def test_a_taken_port_is_a_clear_error(models, server):
    with pytest.raises(ConfigError, match=f"port={server.rest_api_port}, which cannot be opened"):
        serve(models, port=0, rest_api_port=server.rest_api_port)


def test_stop_lets_requests_under_way_end(models):
    server = serve(models / "toy", port=0, rest_api_port=0)
    answers = []
    body = '{"signature_name": "slow", "inputs": 1.0}'
    under_way = threading.Thread(target=lambda: answers.append(ask(server.rest_api_port, "POST", TOY, body)))
    under_way.start()
    time.sleep(0.3)
    server.stop()
    under_way.join()
    assert answers[0][0] == 200
    with pytest.raises(ConnectionRefusedError):
        ask(server.rest_api_port, "GET", "/healthz")


def test_connections_are_closed_while_it_stops():
    """Else callers on open connections would go on sending, and the stop would cut them off in the end."""
    free = threading.Event()
    answers = []
    fake = serve_fake(lambda *request: Answer(200, b"") if free.wait(60) else None)
    port = fake.server.port
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def is_closed():
        kept.request("GET", "/healthz")
        response = kept.getresponse()
        assert (response.status, response.read()) == (200, b'{"alive": true}')
        return response.headers["Connection"] == "close"

    assert not is_closed()
    under_way = threading.Thread(target=lambda: answers.append(ask(port, "POST", TOY, b"{}")))
    under_way.start()
    wait_for(lambda: fake.server._under_way == 1)
    stop = threading.Thread(target=fake.server.stop, args=[60])
    stop.start()
    try:
        wait_for(is_closed)
        with pytest.raises(OSError):  # it cannot connect again
            is_closed()
    finally:
        free.set()
        stop.join()
        under_way.join()
    assert [(status, headers["Connection"]) for status, headers, _ in answers] == [(200, "close")]


def test_garbage_does_not_stop_it(server):
    with socket.create_connection(("127.0.0.1", server.rest_api_port)) as raw:
        raw.sendall(b"\0\1\2 garbage\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.")
    assert ask(server.rest_api_port, "GET", "/healthz")[0] == 200
