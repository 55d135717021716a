"""Fixtures for pytest: real servers of a folder of models, on free ports, for the tests of programs that use them.

In a `conftest.py`:

    pytest_plugins = ["tfllm.testing"]

In a test:

    def test_answers(serve_folder):
        with tfllm.Client(serve_folder("saved_models"), model="reviews") as client:
            assert client.predict("Great film").label == "5"

For tests without a server see `tfllm.MockTransport`.
"""

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest

ServeFolder = Callable[[str | os.PathLike[str]], str]


@pytest.fixture(scope="session")
def serve_folder() -> Iterator[ServeFolder]:
    """Return a function that serves a folder of models and returns the address.

    A folder is served once, until the session's tests are done. It needs `tfllm[server]`.
    """
    from tfllm.server.server import serve

    addresses: dict[str, str] = {}
    with contextlib.ExitStack() as servers:

        def address_of(folder: str | os.PathLike[str]) -> str:
            path = os.path.abspath(folder)
            if path not in addresses:
                addresses[path] = servers.enter_context(serve(path, port=0)).address
            return addresses[path]

        yield address_of
