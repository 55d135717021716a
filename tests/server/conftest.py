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
    with serve(models, port=0, version_policy="all") as running:
        yield running


@pytest.fixture(scope="session")
def channel(server):
    with grpc.insecure_channel(server.address) as open_channel:
        yield open_channel
