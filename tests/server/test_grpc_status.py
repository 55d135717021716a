"""Exceptions as statuses, through a gRPC server with one handler."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tfllm.errors import CALL_ERRORS, ConfigError, call_error
from tfllm.server.access import Access
from tfllm.server.grpc_status import StatusInterceptor
from tfllm.server.observers import Observers

FAILURES = {
    "key": KeyError("x"),
    "unwritten": NotImplementedError("later"),
    "memory": MemoryError("full"),
    "long": call_error("NOT_FOUND", "é" * 1000),
    "odd": call_error("DATA_LOSS", "broken record"),
    **{code: call_error(code, f"this is {code}") for code in CALL_ERRORS},
}


class Handlers(grpc.GenericRpcHandler):
    def service(self, details):
        service, name = details.method.split("/")[1:]
        if service == "Stream":
            return grpc.unary_stream_rpc_method_handler(lambda request, context: iter([request, request]))

        def fail(request, context):
            raise FAILURES[name]

        return grpc.unary_unary_rpc_method_handler(fail) if service == "Fail" else None


@pytest.fixture(scope="module")
def channel():
    server = grpc.server(ThreadPoolExecutor(2), handlers=[Handlers()], interceptors=[StatusInterceptor(Observers())])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    server.stop(None)


def status(channel, method):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(b"", timeout=10)
    return caught.value.code().name, caught.value.details()


@pytest.mark.parametrize("code", sorted(CALL_ERRORS))
def test_every_error_of_ours_has_its_status(channel, code):
    assert status(channel, f"/Fail/{code}") == (code, f"this is {code}")


def test_other_exceptions(channel, caplog):
    assert status(channel, "/Fail/key") == ("INTERNAL", "KeyError: 'x'")
    assert "key failed" in caplog.text
    assert status(channel, "/Fail/memory") == ("INTERNAL", "MemoryError: full")
    assert status(channel, "/Fail/unwritten") == ("UNIMPLEMENTED", "later")
    assert status(channel, "/Fail/odd") == ("DATA_LOSS", "broken record")


def test_long_messages_are_cut_by_bytes(channel):
    assert status(channel, "/Fail/long") == ("NOT_FOUND", "é" * 512 + "...TRUNCATED")


def test_who_may_not_call_is_refused_before_the_message_is_read():
    told, never = [], threading.Event()

    class Refusing(Access):
        def admit(self, event):
            told.append(event)
            assert event.caller == "127.0.0.1"
            raise call_error("UNAUTHENTICATED", "who is it?")

    def silent():
        never.wait()
        yield b""

    interceptor = StatusInterceptor(Observers(), Refusing(), message_seconds=0)
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Handlers()], interceptors=[interceptor])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary("/Fail/key")(silent(), timeout=20)
        never.set()
    assert (caught.value.code().name, caught.value.details()) == ("UNAUTHENTICATED", "who is it?")
    assert told[0].request_bytes == 0
    server.stop(None)
    interceptor.stop()


def test_a_time_for_messages_below_zero():
    with pytest.raises(ConfigError, match="grpc_message_seconds of at least 0. Received: -1"):
        StatusInterceptor(Observers(), message_seconds=-1)


def test_unknown_methods_and_streams_are_left_alone(channel):
    assert status(channel, "/No/Such")[0] == "UNIMPLEMENTED"
    assert list(channel.unary_stream("/Stream/x")(b"a", timeout=10)) == [b"a", b"a"]
