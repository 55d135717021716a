import asyncio
import os
from types import SimpleNamespace

import pytest
from rough_servers import BlockingTransport

from tfllm.client.aio import AsyncClient
from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig
from tfllm.client.transport import GrpcTransport


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Return a folder with the models of `echo_models`."""
    pytest.importorskip("tensorflow")
    import echo_models

    folder = tmp_path_factory.mktemp("client_models")
    echo_models.write_all(folder)
    return folder


@pytest.fixture(scope="session")
def server(request):
    """Return a server of the models: that of another environment if `TFLLM_TEST_SERVER` says where it is."""
    if "TFLLM_TEST_SERVER" in os.environ:
        yield SimpleNamespace(address=os.environ["TFLLM_TEST_SERVER"])
        return
    from tfllm.server.server import serve

    with serve(request.getfixturevalue("models"), port=0) as running:
        yield running


class Blocking:
    """An AsyncClient behind the methods of a Client, so that one test body is for both."""

    def __init__(self, *args, **options):
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*args, **options)

    def run(self, awaitable):
        return self._loop.run_until_complete(awaitable)

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *args, **options: self.run(method(*args, **options))

    def map(self, *args, **options):
        stream = self._client.map(*args, **options)
        try:
            while True:
                yield self.run(anext(stream))
        except StopAsyncIteration:
            return
        finally:
            self.run(stream.aclose())

    def close(self, grace=5.0):
        self.run(self._client.close(grace))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __repr__(self):
        return repr(self._client)


@pytest.fixture(scope="session", params=[Client, Blocking], ids=["sync", "async"])
def kind(request):
    """Return the class of client to test."""
    return request.param


@pytest.fixture(scope="session")
def client(server, kind):
    with kind(server.address, model="echo") as open_client:
        yield open_client


@pytest.fixture(scope="session")
def client_for(server, kind):
    """Return a maker of clients of the server."""
    made = []

    def make(**options):
        made.append(kind(server.address, **{"model": "echo", **options}))
        return made[-1]

    yield make
    for item in made:
        item.close()


@pytest.fixture(params=[GrpcTransport, BlockingTransport], ids=["sync", "async"])
def opened(request):
    """Return a maker of transports."""
    made = []

    def make(address, **settings):
        made.append(request.param(address, ConnectionConfig(**settings)))
        return made[-1]

    yield make
    for transport in made:
        transport.close()
