import asyncio

import pytest
import tensorflow as tf
from rough_servers import BlockingTransport

from tfllm.client.aio import AsyncClient
from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig
from tfllm.client.transport import GrpcTransport
from tfllm.server.server import serve


class Echo(tf.Module):
    """A classifier whose label is the text itself, so that order and bytes can be checked."""

    def __init__(self):
        super().__init__()
        self.unit = tf.Variable(1.0)

    def classify(self, label):
        letters = tf.cast(tf.strings.length(label), tf.float32) * self.unit
        return {"label": label, "score": letters, "scores": tf.stack([letters, -letters], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def single(self, text):
        return self.classify(text)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="text"),
            tf.TensorSpec([None], tf.string, name="text_pair"),
        ]
    )
    def pairs(self, text, text_pair):
        return self.classify(tf.strings.join([text, "|", text_pair]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def first_only(self, text):
        return self.classify(text[:1])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def embed(self, text):
        return {"embedding": tf.ones([tf.size(text), 1000]) * self.unit}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def slow(self, text):
        """Take a tenth of a second a request."""
        end = tf.timestamp() + 0.1
        turns = tf.while_loop(lambda turn: tf.timestamp() < end, lambda turn: [turn + 1], [tf.constant(0)])
        with tf.control_dependencies(turns):
            return self.classify(tf.identity(text))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def picky(self, text):
        """Refuse requests with the text `bad`."""
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(text != "bad"), ["no bad texts"])]):
            return self.classify(tf.identity(text))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def numbers(self, x):
        return {"double": x * 2.0, "sum": tf.reduce_sum(x, axis=1)}


DTYPES = (
    *(tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.complex64, tf.complex128, tf.bool, tf.string),
    *(tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64),
)


class Mirror(tf.Module):
    """A signature for each dtype, which answers with what it is given, doubled in number."""

    @staticmethod
    def of(dtype):
        spec = tf.TensorSpec(None, dtype, name="x")
        return tf.function(lambda x: {"y": tf.stack([x, x])}, input_signature=[spec])

    def __init__(self):
        super().__init__()
        self.functions = {dtype.name: self.of(dtype) for dtype in DTYPES}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Return a folder with the models `echo`, versions 1 and 4, and `mirror`."""
    folder = tmp_path_factory.mktemp("client_models")
    for version in (1, 4):
        echo = Echo()
        signatures = {
            "serving_default": echo.single,
            "pairs": echo.pairs,
            "first_only": echo.first_only,
            "embed": echo.embed,
            "slow": echo.slow,
            "picky": echo.picky,
            "numbers": echo.numbers,
        }
        tf.saved_model.save(echo, str(folder / "echo" / str(version)), signatures=signatures)
    mirror = Mirror()
    tf.saved_model.save(mirror, str(folder / "mirror" / "1"), signatures=mirror.functions)
    return folder


@pytest.fixture(scope="session")
def server(models):
    with serve(models, port=0) as running:
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
