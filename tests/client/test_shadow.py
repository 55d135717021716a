"""Shadows that fail in odd ways, and what becomes of them when the client is closed; see also `test_routing.py`."""

import asyncio
import contextvars
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from rough_servers import Answers, running

from tfllm.client.aio_transport import GrpcAioTransport
from tfllm.client.config import ConnectionConfig
from tfllm.client.mock import MockTransport
from tfllm.client.shadow import AsyncShadowTransport, ShadowTransport
from tfllm.client.transport import GrpcTransport
from tfllm.errors import Cancelled
from tfllm.wire import messages, tensors

caller = contextvars.ContextVar("caller", default="nobody")


def request():
    message = messages.PredictRequest(model_spec={"name": "m"})
    tensors.fill(message.inputs["x"], [1])
    return message.SerializeToString()


class Main(MockTransport):
    """Answers with what it is asked, also when it comes late, after close."""

    def __init__(self):
        super().__init__(lambda inputs: {"y": inputs["x"]})

    def close(self, grace=0.0):
        pass


def settled(report, seconds=5.0):
    end = time.monotonic() + seconds
    while report.waiting and time.monotonic() < end:
        time.sleep(0.01)
    assert report.waiting == 0
    return report.same, report.different, report.failed, report.dropped


async def settled_async(report):
    for _ in range(500):
        if not report.waiting:
            break
        await asyncio.sleep(0.01)
    return settled(report, 0.0)


@pytest.fixture(params=["sync", "async"])
def shadowed(request):
    """Return a function that asks three times, and returns the report when nothing waits for the shadow any more."""

    def ask(shadow, data, **options):
        transport = ShadowTransport(Main(), shadow, **options)
        for _ in range(3):
            transport.call(messages.PREDICT, data, 5)
        counts = settled(transport.report)
        transport.close()
        return counts, transport.report

    async def ask_async(shadow, data, **options):
        transport = AsyncShadowTransport(Main().for_asyncio(), shadow.for_asyncio(), **options)
        for _ in range(3):
            await transport.call(messages.PREDICT, data, 5)
        counts = await settled_async(transport.report)
        await transport.close()
        return counts, transport.report

    return ask if request.param == "sync" else lambda *args, **options: asyncio.run(ask_async(*args, **options))


class Garbled(MockTransport):
    """Answers with what is no PredictResponse."""

    def __init__(self):
        super().__init__(lambda inputs: inputs)

    def call(self, method, request, timeout):
        return b"\xff"

    def for_asyncio(self):
        return AsyncGarbled()


class AsyncGarbled:
    async def call(self, method, request, timeout):
        return b"\xff"

    async def close(self, grace=0.0):
        pass


def test_answers_that_cannot_be_compared_have_failed(shadowed):
    counts, report = shadowed(Garbled(), request())
    assert counts == (0, 0, 3, 0) and type(report.last_error).__name__ == "DecodeError"


def test_a_program_that_fails_at_differences_is_told_so(shadowed):
    def broken(difference):
        raise LookupError("no room for differences")

    shadow = MockTransport(lambda inputs: {"y": [5]})
    counts, report = shadowed(shadow, request(), on_difference=broken)
    assert counts == (0, 3, 0, 0) and "no room" in str(report.last_error)


def test_a_shadow_is_asked_in_the_caller_s_context(shadowed):
    found = []
    shadow = MockTransport(lambda inputs: found.append(caller.get()) or {"y": inputs["x"]})
    token = caller.set("me")
    counts, _ = shadowed(shadow, request())
    caller.reset(token)
    assert counts == (3, 0, 0, 0) and found == ["me"] * 3


def no_token():
    raise LookupError("no token")


def test_a_token_that_cannot_be_had_is_a_failure():
    with running(Answers()) as address:
        transport = ShadowTransport(Main(), GrpcTransport(address, ConnectionConfig(token=no_token)))
        transport.call(messages.PREDICT, request(), 5)
        assert settled(transport.report) == (0, 0, 1, 0) and "no token" in str(transport.report.last_error)
        transport.close()


def test_a_token_that_cannot_be_had_is_a_failure_in_an_event_loop():
    async def ask(address):
        shadow = GrpcAioTransport(address, ConnectionConfig(token=no_token))
        transport = AsyncShadowTransport(Main().for_asyncio(), shadow)
        await transport.call(messages.PREDICT, request(), 5)
        assert await settled_async(transport.report) == (0, 0, 1, 0)
        await transport.close()

    with running(Answers()) as address:
        asyncio.run(ask(address))


def test_a_call_that_is_answered_in_the_grace_is_answered():
    with running(Answers()) as address, ThreadPoolExecutor(1) as pool:
        transport = ShadowTransport(GrpcTransport(address), Main())
        transport.call(messages.PREDICT, b"Echo x", 5)
        call = pool.submit(transport.call, messages.PREDICT, b"Slow 0.6", 10)
        time.sleep(0.2)
        transport.close(10)
        assert call.result(5) == b"Slow 0.6"
        with pytest.raises(Cancelled):
            transport.call(messages.PREDICT, b"Echo x", 5)


def test_what_waits_when_the_client_is_closed_is_dropped():
    slow = MockTransport(lambda inputs: time.sleep(0.3) or {"y": inputs["x"]})
    transport = ShadowTransport(Main(), slow)
    for _ in range(10):
        transport.call(messages.PREDICT, request(), 5)
    time.sleep(0.1)
    transport.close()
    assert settled(transport.report) == (4, 0, 0, 6)
    late = transport.call(messages.PREDICT, request(), 5)
    assert late and settled(transport.report) == (4, 0, 0, 7)


def test_what_waits_when_the_client_is_closed_is_dropped_in_an_event_loop():
    async def ask(address):
        transport = AsyncShadowTransport(Main().for_asyncio(), GrpcAioTransport(address))
        for _ in range(3):
            await transport.call(messages.PREDICT, request(), 5)
        await asyncio.sleep(0.1)
        await transport.close()
        found = await settled_async(transport.report)
        await transport.call(messages.PREDICT, request(), 5)
        return found, await settled_async(transport.report)

    class Slow(Answers):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: time.sleep(1) or request)

    with running(Slow()) as address:
        assert asyncio.run(ask(address)) == ((0, 0, 0, 3), (0, 0, 0, 4))
