import http.client
import json

import grpc
import pytest
import serving_models

from tfllm.server.server import serve


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Return a folder with `toy` (versions 1 and 2) and `classic` (version 7)."""
    folder = tmp_path_factory.mktemp("saved_models")
    serving_models.write_all(folder)
    return folder


@pytest.fixture(scope="session")
def server(models):
    """Return a server of all versions."""
    with serve(models, port=0, rest_api_port=0, version_policy="all") as running:
        yield running


@pytest.fixture(scope="session")
def channel(server):
    with grpc.insecure_channel(server.address) as open_channel:
        yield open_channel


@pytest.fixture(scope="session")
def rest(server):
    """Return what asks a path of the REST port: the status, and the body, parsed if it is JSON."""

    def ask(method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=30)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        text = response.read().decode("utf-8", "surrogateescape")
        connection.close()
        kind = response.headers["Content-Type"]
        return response.status, json.loads(text) if kind == "application/json" and text else text

    return ask
