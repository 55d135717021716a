"""What the web server below the REST API takes and gives: limits, compression, start and stop."""

import gzip
import http.client
import json
import socket
import threading
import time

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


def test_garbage_does_not_stop_it(server):
    with socket.create_connection(("127.0.0.1", server.rest_api_port)) as raw:
        raw.sendall(b"\0\1\2 garbage\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.")
    assert ask(server.rest_api_port, "GET", "/healthz")[0] == 200
