"""What becomes of each gRPC status, by a server that answers with the one it is asked for."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tfllm import errors
from tfllm.client.transport import GrpcTransport


class Statuses(grpc.GenericRpcHandler):
    """Answer the method `/Status/<NAME>` with that status, and `/Echo/` with the request."""

    def service(self, details):
        kind, name = details.method.split("/")[1:]

        def answer(request, context):
            if kind == "Status":
                context.abort(grpc.StatusCode[name], f"this is {name}")
            return request

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture(scope="module")
def transport():
    server = grpc.server(ThreadPoolExecutor(2), handlers=[Statuses()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    opened = GrpcTransport(f"127.0.0.1:{port}")
    yield opened
    opened.close()
    server.stop(None)


def test_bytes_go_through(transport):
    assert transport.call("/Echo/", b"\0\xff", 5) == b"\0\xff"


@pytest.mark.parametrize("name", [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_has_its_error(transport, name):
    with pytest.raises(errors.CallError) as caught:
        transport.call(f"/Status/{name}", b"", 5)
    error = caught.value
    assert type(error) is errors.CALL_ERRORS.get(name, errors.CallError)
    assert (error.code, error.details) == (name, f"this is {name}")
    assert isinstance(error.__cause__, grpc.RpcError)


def test_a_host_that_does_not_exist():
    transport = GrpcTransport("no-such-host.invalid:8500")
    with pytest.raises(errors.ServerUnavailable, match="no-such-host.invalid:8500"):
        transport.call("/Echo/", b"", 10)
    transport.close()


def test_a_socket_path_is_an_address(tmp_path):
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Statuses()])
    server.add_insecure_port(f"unix:{tmp_path}/socket")
    server.start()
    transport = GrpcTransport(f"unix:{tmp_path}/socket")
    assert transport.call("/Echo/", b"x", 5) == b"x"
    transport.close()
    server.stop(None)
