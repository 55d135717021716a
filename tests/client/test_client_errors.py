"""What the client raises, against a real server."""

import asyncio
import time

import numpy as np
import pandas as pd
import pytest

from tfllm.client.aio import AsyncClient
from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig
from tfllm.client.mock import MockTransport
from tfllm.errors import (
    Cancelled,
    ConfigError,
    FailedPrecondition,
    InvalidInput,
    ModelNotFound,
    ServerError,
    ServerUnavailable,
    Timeout,
    Unimplemented,
)
from tfllm.wire import messages, tensors


@pytest.mark.parametrize(
    "texts, message",
    [
        (["a", None], "item 1 of type NoneType"),
        (["a", "b", "c", 5.0], "item 3 of type float"),
        (pd.Series(["a", float("nan")], dtype=object), "item 1 of type float"),
        (["a", ("b", "c")], "item 1 of type tuple"),
        ([("a", "b"), "c"], "pairs of texts. Received: str at item 1"),
        ([("a", "b"), ("c", "d", "e")], "pairs of texts. Received: 3 values at item 1"),
        ([("a", "b"), ("c", 1)], "item 1 of type int"),
        (["a", "b", "\ud800"], "item 2 with a lone surrogate"),
        (5, "Received: int"),
        (None, "Received: NoneType"),
        ({"text": "a"}, "Received: dict.*predict_arrays"),
        (pd.DataFrame({"text": ["a"]}), "Received: DataFrame, which has columns. Use to_frame"),
    ],
)
def test_what_is_no_text_is_named(client, texts, message):
    with pytest.raises(InvalidInput, match=message):
        client.predict(texts, batch_size=2)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"x": [[1, 2], [3]]}, "Input 'x'.*ragged"),
        ({"x": np.array(["2020"], "datetime64[Y]")}, "Input 'x'.*datetime64"),
        ([1, 2], "mapping of input names.*list"),
    ],
)
def test_what_is_no_array_is_named(client, inputs, message):
    with pytest.raises(InvalidInput, match=message):
        client.predict_arrays(inputs, signature="numbers")


@pytest.mark.parametrize(
    "options, error_class, details, hint",
    [
        ({"model": "nope"}, ModelNotFound, "Servable not found for request: Latest(nope)", "status()"),
        ({"version": 9}, ModelNotFound, "Servable not found for request: Specific(echo, 9)", "status()"),
        ({"label": "stable"}, InvalidInput, "Unrecognized servable version label: stable", "label"),
        (
            {"signature": "single"},
            FailedPrecondition,
            'Serving signature key "single" not found.',
            "Version 4 of model 'echo' has no signature 'single'. ",
        ),
    ],
)
def test_refusals_are_typed_and_say_where(client_for, server, options, error_class, details, hint):
    client = client_for(**options)
    with pytest.raises(error_class) as caught:
        client.predict("a")
    error = caught.value
    assert error.details == details
    assert error.model == options.get("model", "echo")
    assert error.address == server.address
    assert server.address in str(error) and repr(error.model) in str(error) and hint in error.hint in str(error)


def test_wrong_inputs_are_typed(client_for, client):
    with pytest.raises(InvalidInput, match=r"Missing but required: {text_pair}.*takes text: string .any., text_pair"):
        client_for(signature="pairs").predict("a")
    with pytest.raises(InvalidInput, match="to be float but double"):
        client.predict_arrays({"x": np.float64([[1, 2]])}, "numbers")
    with pytest.raises(InvalidInput, match="output tensor alias not found.*: nope"):
        client.predict_arrays({"x": np.float32([[1, 2]])}, "numbers", ["nope"])


def test_too_few_results_are_an_error(client_for):
    with pytest.raises(ServerError, match="1 results for 2 texts"):
        client_for(signature="first_only").predict(["a", "b"])


def test_no_server(kind):
    with kind("localhost:1", model="echo", timeout=5) as client:
        with pytest.raises(ServerUnavailable, match=r"No server can be reached at localhost:1.*8500") as caught:
            client.predict("a")
    assert (caught.value.model, caught.value.address) == ("echo", "localhost:1")


def test_a_server_of_another_kind(client, server):
    """Whatever answers UNIMPLEMENTED is no TensorFlow Serving."""
    from tfllm.client.transport import GrpcTransport

    transport = GrpcTransport(server.address)
    with pytest.raises(Unimplemented):
        transport.call("/elsewhere/Predict", b"", 5)
    transport.close()


def test_the_timeout_is_for_the_whole_call(client_for):
    texts = ["a"] * 30
    start = time.monotonic()
    with pytest.raises(Timeout) as caught:
        client_for(signature="slow", timeout=0.5).predict(texts, batch_size=1)
    assert 0.4 < time.monotonic() - start < 1.5
    assert caught.value.model == "echo"
    assert len(client_for(signature="slow", timeout=None).predict(texts[:3], batch_size=1)) == 3


def test_a_slow_source_of_texts_counts_too(server):
    def texts():
        yield "a"
        time.sleep(0.4)
        yield "b"

    with Client(server.address, model="echo", timeout=0.3) as client:
        with pytest.raises(Timeout, match="0.3 s passed after 1 texts"):
            client.predict(texts(), batch_size=1)


def test_a_slow_asynchronous_source_counts_too(server):
    async def texts():
        yield "a"
        await asyncio.sleep(0.4)
        yield "b"

    async def ask():
        async with AsyncClient(server.address, model="echo", timeout=0.3) as client:
            await client.predict(texts(), batch_size=1)

    with pytest.raises(Timeout, match="0.3 s passed after 1 texts"):
        asyncio.run(ask())


def test_a_closed_client_says_so(server, kind):
    with kind(server.address, model="echo") as client:
        client.predict("a")
    for _ in range(2):
        with pytest.raises(Cancelled, match="client is closed"):
            client.predict("a")
    client.close()


@pytest.mark.parametrize(
    "address, options, message",
    [
        ("localhost:8500,http://localhost:8501", {}, "gRPC port.*8501"),
        ("localhost", {}, "with a port"),
        ("localhost:8500", {"timeout": 0}, "timeout=0"),
        ("localhost:8500", {"timeout": float("nan")}, "timeout=nan"),
        ("localhost:8500", {"version": 1, "label": "stable"}, "not both"),
        ("localhost:8500", {"version": "1"}, "version='1'"),
        ("localhost:8500", {"model": ""}, "model=''"),
    ],
)
def test_arguments_that_cannot_be_right(kind, address, options, message):
    with pytest.raises(ConfigError, match=message):
        kind(address, **{"model": "echo", **options})


def test_batch_size_must_be_positive(client):
    with pytest.raises(ConfigError, match="batch_size=0"):
        client.predict(["a"], batch_size=0)


class Garbled(MockTransport):
    """Answers each method with these bytes."""

    def __init__(self, answer):
        super().__init__(lambda inputs: inputs)
        self.bytes = answer

    def call(self, method, request, timeout):
        return self.bytes


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.predict("a"),
        lambda client: client.predict_arrays({"x": [1.0]}),
        lambda client: client.classify([{"x": 1.0}]),
        lambda client: client.regress([{"x": 1.0}]),
        lambda client: client.multi_inference([{"x": 1.0}], {"a": "classify"}),
        lambda client: client.status(),
        lambda client: client.metadata(),
    ],
)
def test_answers_that_are_no_message_are_a_server_error(call):
    with pytest.raises(ServerError, match="answer that can be read") as caught:
        call(Client("a:1", model="m", transport=Garbled(b"\xff\xff\xff")))
    assert (caught.value.model, caught.value.address) == ("m", "a:1")


def predict_answer(**outputs):
    response = messages.PredictResponse()
    for name, value in outputs.items():
        tensors.fill(response.outputs[name], value)
    return response


def test_answers_that_do_not_fit_together_are_a_server_error_of_their_rows():
    unequal = predict_answer(label=["a", "b"], score=[0.5], scores=[[0.5]])
    with pytest.raises(ServerError, match="ValueError: zip") as caught:
        Client("a:1", model="m", transport=Garbled(unequal.SerializeToString())).predict("a")
    assert (caught.value.model, caught.value.address) == ("m", "a:1")
    unknown = predict_answer(value=[0.5])
    unknown.outputs["value"].dtype = 20
    client = Client("a:1", model="m", transport=Garbled(unknown.SerializeToString()))
    with pytest.raises(ServerError, match="known dtype. Received: DataType number 20"):
        client.predict_arrays({"x": [1.0]})
    rows = list(client.map(["a", "b"], batch_size=1, on_error="yield"))
    assert [type(row) for row in rows] == [ServerError, ServerError]
    few = Client("a:1", model="m", transport=Garbled(predict_answer(value=[0.5]).SerializeToString()))
    with pytest.raises(ServerError, match="1 results for 2 texts. .INTERNAL: model 'm' at a:1"):
        few.predict(["a", "b"])


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.predict_arrays({"x": np.zeros(1000)}),
        lambda client: client.classify([{"x": [1.0] * 1000}]),
        lambda client: client.regress([{"x": [1.0] * 1000}]),
        lambda client: client.multi_inference([{"x": [1.0] * 1000}], {"a": "classify"}),
    ],
)
def test_requests_over_the_limit_are_refused(call):
    client = Client("a:1", model="m", connection=ConnectionConfig(max_request_bytes=1000))
    with pytest.raises(InvalidInput, match="at most 1000 bytes. Received: .* bytes. Send fewer rows"):
        call(client)


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), 0, -1])
def test_timeouts_that_gRPC_does_not_take_are_refused(timeout):
    with pytest.raises(ConfigError, match="above 0 seconds, or None to wait for ever. Received: timeout="):
        Client("a:1", model="m", timeout=timeout)


def test_an_asynchronous_source_is_for_an_asynchronous_client():
    async def source():
        yield "a"

    client = Client("a:1", model="m")
    for call in (client.predict, lambda items: next(client.map(items))):
        with pytest.raises(InvalidInput, match="asynchronous async_generator. Use an AsyncClient"):
            call(source())


def test_the_id_of_a_request_stays_where_its_signature_explains_it(client_for):
    client = client_for(connection=ConnectionConfig(request_ids=True))
    with pytest.raises(InvalidInput, match="takes x: float32 .any, 2.*gives.*Request id: [0-9a-f-]+"):
        client.predict_arrays({"y": [[1.0, 2.0]]}, "numbers")
