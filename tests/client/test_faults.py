"""Broken servers, slow servers, full servers, forks: what the transports do, both of them, with real servers."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rough_servers import Answers, free_port, processes, running

from tfllm.client.aio_transport import GrpcAioTransport
from tfllm.client.config import ConnectionConfig
from tfllm.client.transport import GrpcTransport
from tfllm.errors import Cancelled, ConfigError, Overloaded, ServerError, ServerUnavailable, Timeout


@pytest.mark.parametrize("status", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_what_may_pass_is_tried_again(opened, status):
    answers = Answers()
    answers.failures = 2
    with running(answers) as address:
        assert opened(address, initial_backoff=0.02).call(f"/Fail/{status}", b"x", 5) == b"x"
    assert answers.calls == 3


@pytest.mark.parametrize("status", ["INTERNAL", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "ABORTED", "UNKNOWN"])
def test_what_will_not_pass_is_not_tried_again(opened, status):
    answers = Answers()
    with running(answers) as address, pytest.raises(Exception, match="not now"):
        opened(address).call(f"/Fail/{status}", b"x", 5)
    assert answers.calls == 1


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_full_server_is_asked_so_often_and_no_more(opened, attempts):
    answers = Answers()
    with running(answers) as address, pytest.raises(Overloaded, match="not now"):
        opened(address, max_attempts=attempts, initial_backoff=0.02).call("/Fail/RESOURCE_EXHAUSTED", b"x", 5)
    assert answers.calls == attempts


def test_large_requests_are_tried_again_too(opened):
    answers = Answers()
    answers.failures = 1
    with running(answers, options=[("grpc.max_receive_message_length", -1)]) as address:
        request = b"x" * 5_000_000
        assert opened(address, initial_backoff=0.02).call("/Fail/UNAVAILABLE", request, 10) == request


def test_the_retry_budget_keeps_load_from_a_server_that_fails(opened):
    answers = Answers()
    with running(answers) as address:
        transport = opened(address, initial_backoff=0.005, retry_budget=6)
        for _ in range(40):
            with pytest.raises(ServerUnavailable):
                transport.call("/Fail/UNAVAILABLE", b"x", 5)
    assert 40 <= answers.calls < 40 + 10  # without a budget: 160


def test_retries_end_with_the_deadline(opened):
    answers = Answers()
    with running(answers) as address:
        transport = opened(address, max_attempts=5, initial_backoff=0.4)
        start = time.monotonic()
        with pytest.raises((Timeout, ServerUnavailable)):
            transport.call("/Fail/UNAVAILABLE", b"x", 0.6)
        assert time.monotonic() - start < 1.2
    assert 1 <= answers.calls < 5


def test_the_deadline_holds_while_a_server_sleeps(opened):
    """The best of some calls is held to 50 ms: a machine that is busy delays any of them."""
    late = []
    with running(Answers()) as address:
        transport = opened(address)
        transport.call("/Echo/", b"x", 5)
        for _ in range(5):
            start = time.monotonic()
            with pytest.raises(Timeout):
                transport.call("/Slow/", b"1", 0.2)
            late.append(time.monotonic() - start - 0.2)
    assert min(late) < 0.05


def test_a_refused_connection_is_told_at_once(opened):
    start = time.monotonic()
    with pytest.raises(ServerUnavailable, match="No server can be reached"):
        opened(f"127.0.0.1:{free_port()}").call("/Echo/", b"x", 60)
    assert time.monotonic() - start < 10


def test_a_client_may_wait_for_the_server(opened):
    port = free_port()
    transport = opened(f"127.0.0.1:{port}", wait_for_ready=True)
    with pytest.raises(Timeout):
        transport.call("/Echo/", b"x", 0.2)
    with running(Answers(), port):
        assert transport.call("/Echo/", b"x", 20) == b"x"


def test_a_restart_on_the_same_port_is_bridged(opened):
    with running(Answers()) as address:
        transport = opened(address, wait_for_ready=True)
        transport.call("/Echo/", b"x", 5)
    with running(Answers(b"new"), int(address.rpartition(":")[2])):
        assert transport.call("/Echo/", b"x", 20) == b"new"


def test_a_server_that_dies_under_a_call_is_an_error_of_its_own(opened):
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(running(Answers()))
        transport = opened(address, max_attempts=1)
        threading.Timer(0.3, stack.close).start()
        start = time.monotonic()
        with pytest.raises((ServerUnavailable, Cancelled)):
            transport.call("/Slow/", b"1.5", 30)
        assert time.monotonic() - start < 10


def test_several_servers_take_turns_and_cover_for_each_other(opened):
    with running(Answers(b"a")) as first, running(Answers(b"b")) as second:
        with running(Answers(b"c")) as third:
            transport = opened(f"{first}, {second},{third}", wait_for_ready=True)
            end = time.monotonic() + 20
            found = set()
            while found != {b"a", b"b", b"c"} and time.monotonic() < end:
                found.add(transport.call("/Echo/", b"x", 5))
            assert found == {b"a", b"b", b"c"}
            shares = [transport.call("/Echo/", b"x", 5) for _ in range(60)]
            assert {shares.count(name) for name in found} == {20}
        assert {transport.call("/Echo/", b"x", 5) for _ in range(30)} == {b"a", b"b"}


def test_a_list_of_addresses_and_a_name_for_several(opened):
    with running(Answers(b"a")) as address:
        port = address.rpartition(":")[2]
        assert opened([address]).call("/Echo/", b"x", 5) == b"a"
        assert opened(f"dns:///localhost:{port}").call("/Echo/", b"x", 5) == b"a"
        assert opened([f"localhost:{port}", address]).call("/Echo/", b"x", 5) == b"a"


def test_close_waits_for_calls_under_way():
    with running(Answers()) as address, ThreadPoolExecutor(1) as pool:
        transport = GrpcTransport(address)
        transport.call("/Echo/", b"x", 5)
        call = pool.submit(transport.call, "/Slow/", b"0.5", 10)
        time.sleep(0.2)
        transport.close(grace=10)
        assert call.result(1) == b"0.5"
        with pytest.raises(Cancelled, match="client is closed"):
            transport.call("/Echo/", b"x", 5)


def test_close_ends_calls_after_the_grace():
    with running(Answers()) as address, ThreadPoolExecutor(1) as pool:
        transport = GrpcTransport(address)
        transport.call("/Echo/", b"x", 5)
        call = pool.submit(transport.call, "/Slow/", b"2", 10)
        time.sleep(0.2)
        transport.close(grace=0.1)
        with pytest.raises(Cancelled):
            call.result(5)


def test_close_waits_for_tasks_under_way():
    async def ask(address, grace):
        transport = GrpcAioTransport(address)
        await transport.call("/Echo/", b"x", 5)
        call = asyncio.create_task(transport.call("/Slow/", b"0.5", 10))
        await asyncio.sleep(0.2)
        await transport.close(grace)
        return await call

    with running(Answers()) as address:
        assert asyncio.run(ask(address, 10)) == b"0.5"
        with pytest.raises(Cancelled):
            asyncio.run(ask(address, 0.05))


@pytest.mark.parametrize("grace", [10, 0.1])
def test_close_gives_calls_on_a_channel_that_was_replaced_the_same_grace(grace):
    with running(Answers()) as address, ThreadPoolExecutor(1) as pool:
        transport = GrpcTransport(address)
        transport.call("/Echo/", b"x", 5)
        call = pool.submit(transport.call, "/Slow/", b"2", 20)
        time.sleep(0.2)
        before = transport._connection
        for _ in range(3):
            with pytest.raises(Timeout):
                transport.call("/Slow/", b"0.6", 0.1)
        transport.call("/Echo/", b"x", 5)
        assert transport._connection is not before
        transport.close(grace)
        if grace == 10:
            assert call.result(1) == b"2"
        else:
            with pytest.raises(Cancelled):
                call.result(1)


@pytest.mark.parametrize("grace", [10, 0.1])
def test_close_gives_tasks_on_a_channel_that_was_replaced_the_same_grace(grace):
    async def ask(address):
        transport = GrpcAioTransport(address)
        await transport.call("/Echo/", b"x", 5)
        call = asyncio.create_task(transport.call("/Slow/", b"2", 20))
        await asyncio.sleep(0.2)
        before = transport._connection
        for _ in range(3):
            with pytest.raises(Timeout):
                await transport.call("/Slow/", b"0.6", 0.1)
        await transport.call("/Echo/", b"x", 5)
        assert transport._connection is not before
        await transport.close(grace)
        return await asyncio.wait_for(call, 1)

    with running(Answers()) as address:
        if grace == 10:
            assert asyncio.run(ask(address)) == b"2"
        else:
            with pytest.raises(Cancelled):
                asyncio.run(ask(address))


def test_a_task_that_is_cancelled_while_close_runs_is_cancelled():
    async def ask(address):
        transport = GrpcAioTransport(address)
        call = asyncio.create_task(transport.call("/Slow/", b"1", 10))
        await asyncio.sleep(0.3)
        closing = asyncio.create_task(transport.close(10))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await closing

    with running(Answers()) as address:
        asyncio.run(ask(address))


def test_a_cancelled_task_is_cancelled_and_the_client_goes_on():
    async def ask(address):
        transport = GrpcAioTransport(address)
        call = asyncio.create_task(transport.call("/Slow/", b"1", 10))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        answer = await transport.call("/Echo/", b"x", 5)
        await transport.close()
        return answer

    with running(Answers()) as address:
        assert asyncio.run(ask(address)) == b"x"


def test_another_event_loop_is_told_apart():
    with running(Answers()) as address:
        transport = GrpcAioTransport(address)
        asyncio.run(transport.call("/Echo/", b"x", 5))
        with pytest.raises(ConfigError, match="event loop of the first call"):
            asyncio.run(transport.call("/Echo/", b"x", 5))


def in_a_fork(work):
    """Return what `work` says in a forked child; a child that hangs is killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, work())
        finally:
            os._exit(0)
    os.close(writer)
    end = time.monotonic() + 20
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.02)
    with os.fdopen(reader, "rb") as said:
        return said.read()


FORK_SCRIPT = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, sys.argv[2])
from test_faults import in_a_fork
from tfllm.client.aio_transport import GrpcAioTransport
from tfllm.client.transport import GrpcTransport
from tfllm.errors import TfllmError

def attempt(call):
    try:
        return call()
    except TfllmError as error:
        return type(error).__name__.encode()

transport = GrpcTransport(sys.argv[1])
transport.call("/Echo/", b"x", 5)
said = in_a_fork(lambda: attempt(lambda: transport.call("/Echo/", b"child", 5)))
print(said.decode(), transport.call("/Echo/", b"parent", 5).decode())

# Eight threads of a new process at once: only the first leaves the parent's connection.
leave, gate = transport._leave_parent, threading.Barrier(8)
transport._leave_parent = lambda: time.sleep(0.05) or leave()

def ask(_):
    gate.wait()
    return attempt(lambda: transport.call("/Slow/", b"0.4", 5))

def together():
    with ThreadPoolExecutor(8) as pool:
        return b"|".join(set(pool.map(ask, range(8)))) + b" %d" % len(transport._inherited)

print(in_a_fork(together).decode())
threading.Thread(target=transport.call, args=("/Slow/", b"1", 10)).start()
time.sleep(0.3)
print(in_a_fork(lambda: attempt(lambda: transport.call("/Echo/", b"child", 5))).decode())
"""


def test_a_forked_child_reconnects_or_says_why_not():
    """In a process of its own: a fork of the test's own, which has TensorFlow's threads, would test those."""
    with running(Answers()) as address:
        command = [sys.executable, "-c", FORK_SCRIPT, address, str(Path(__file__).parent)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert said == ["child", "parent", "0.4", "1", "ServerUnavailable"]


STICKY_FORK_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_faults import in_a_fork
from tfllm.client.routing import StickyTransport
from tfllm.wire import messages

class Served:
    def call(self, method, request, timeout):
        if method == messages.GET_MODEL_METADATA:
            answer = messages.GetModelMetadataResponse(model_spec={"name": "m", "version": {"value": 3}})
            return answer.SerializeToString()
        return b"answered"

sticky = StickyTransport(Served())
request = messages.PredictRequest(model_spec={"name": "m"}).SerializeToString()
with sticky._turn:  # a thread of the parent is looking for the version
    print(in_a_fork(lambda: sticky.call(messages.PREDICT, request, None)).decode())
"""


def test_a_forked_child_does_not_wait_for_its_parents_look_up():
    command = [sys.executable, "-c", STICKY_FORK_SCRIPT, str(Path(__file__).parent)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert said == ["answered"]


def test_metadata_token_and_compression_arrive(opened):
    answers, tokens = Answers(), iter(["first", "second"])
    with running(answers) as address:
        transport = opened(address, token=lambda: next(tokens), metadata={"x-request-id": "7"}, compression="gzip")
        for token in ("first", "second"):
            transport.call("/Echo/", b"x" * 1000, 5)
            assert answers.metadata["authorization"] == f"Bearer {token}"
            assert answers.metadata["x-request-id"] == "7"


def test_a_token_s_time_is_taken_from_the_call_s(opened):
    def slow_token():
        time.sleep(0.2)
        return "t"

    with running(Answers()) as address:
        with pytest.raises(Timeout):
            opened(address, token=slow_token).call("/Slow/", b"0.3", 0.4)


def test_an_error_of_the_server_is_not_hidden(opened):
    with running(Answers()) as address, pytest.raises(ServerError, match="not now"):
        opened(address).call("/Fail/INTERNAL", b"x", 5)


def test_one_of_three_is_killed_under_load_and_no_call_fails():
    with processes("abc") as servers, ThreadPoolExecutor(6) as pool:
        transport = GrpcTransport(list(servers), ConnectionConfig(wait_for_ready=True))
        answered = []

        def ask(number):
            answered.append(transport.call(("/Echo/", "/Slow/")[number % 2], b"0.02", 20))

        calls = [pool.submit(ask, number) for number in range(600)]
        while len(answered) < 150:
            time.sleep(0.01)
        next(iter(servers.values())).kill()
        at_kill = len(answered)
        for call in calls:
            call.result(60)
        assert at_kill < 500 and len(set(answered[-100:])) == 2 and len(set(answered)) == 3
        transport.close()
