"""Connections of REST in forks, at the end of a call's time, and when the client is closed; against rough servers."""

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rough_servers import BlockingTransport, free_port

from tfllm.client.config import ConnectionConfig, TlsConfig
from tfllm.client.rest import AsyncRestTransport, RestTransport
from tfllm.errors import CallError, Cancelled, ServerUnavailable, Timeout
from tfllm.wire import messages

STATUS = messages.GetModelStatusRequest(model_spec={"name": "m"}).SerializeToString()


class HttpServer:
    """Answers each request with a version number; `answer` sends it, in parts and with pauses if it likes."""

    def __init__(self, answer=None, port=0, context=None):
        self._answer = answer or self.whole
        self._context = context
        self.connections = self.requests = 0
        self._open = []
        self._listener = socket.create_server(("127.0.0.1", port))
        scheme = "http" if context is None else "https"
        self.address = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        try:
            while True:
                self._serve_beside(self._listener.accept()[0])
        except OSError:
            pass  # closed

    def _serve_beside(self, connection):
        self.connections += 1
        self._open.append(connection)
        threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection, number):
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            while b"\r\n\r\n" in connection.recv(65536):
                self.requests += 1
                self._answer(connection, number)
        except OSError:
            pass  # the client has left

    @staticmethod
    def whole(connection, version=1):
        connection.sendall(said(version))

    def close(self):
        for item in [self._listener, *self._open]:
            item.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def said(version=1, status="200 OK"):
    body = json.dumps({"model_version_status": [{"version": str(version), "state": "AVAILABLE"}]})
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def dripping(seconds, head):
    """Return an answer that comes byte by byte: its head, or its body."""

    def answer(connection, number):
        whole = said(number)
        start = 0 if head else whole.index(b"\r\n\r\n") + 4
        connection.sendall(whole[:start])
        for place in range(start, len(whole)):
            connection.sendall(whole[place : place + 1])
            time.sleep(seconds)

    return answer


class Blocking(BlockingTransport):
    """An AsyncRestTransport behind the methods of a RestTransport."""

    kind = AsyncRestTransport


@pytest.fixture(params=[RestTransport, Blocking], ids=["sync", "async"])
def opened(request):
    made = []

    def make(address, **settings):
        made.append(request.param(address, ConnectionConfig(**settings)))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def version(transport, timeout=10.0):
    answer = transport.call(messages.GET_MODEL_STATUS, STATUS, timeout)
    return messages.GetModelStatusResponse.FromString(answer).model_version_status[0].version


FORK_SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_faults import in_a_fork
from test_http_connections import Blocking, HttpServer, RestTransport, version

for kind in (RestTransport, Blocking):
    with HttpServer() as server:
        transport = kind(server.address)
        print(version(transport))

        def child():
            found = [version(transport), version(transport)]
            transport.close()
            return b"%d %d" % tuple(found)

        print(in_a_fork(child).decode())
        print(in_a_fork(child).decode())
        print(version(transport), server.connections)
        transport.close()
"""


def test_a_forked_process_has_connections_of_its_own():
    """Each connection answers with its number: the parent keeps the first, also when a child has closed its own."""
    command = [sys.executable, "-c", FORK_SCRIPT, str(Path(__file__).parent)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split("\n")
    assert found[:-1] == ["1", "2 2", "3 3", "1 3"] * 2


@pytest.mark.parametrize("head", [True, False])
def test_the_deadline_is_that_of_the_whole_call(opened, head):
    with HttpServer(dripping(0.05, head)) as server:
        transport = opened(server.address, max_attempts=1)
        start = time.monotonic()
        with pytest.raises(Timeout):
            version(transport, 0.4)
        assert time.monotonic() - start < 2


def test_silence_after_a_slow_start_ends_with_the_deadline(opened):
    """A limit for each read, the same from the first to the last, would let this call take nearly double its time."""

    def answer(connection, number):
        time.sleep(1.5)
        connection.sendall(said()[:20])
        time.sleep(5)

    with HttpServer(answer) as server:
        transport, start = opened(server.address, max_attempts=1), time.monotonic()
        with pytest.raises(Timeout):
            version(transport, 2.0)
        assert time.monotonic() - start < 3.0


def test_a_server_that_reads_nothing_ends_with_the_deadline(opened):
    listener = socket.create_server(("127.0.0.1", 0))
    request = messages.ClassificationRequest(model_spec={"name": "m"})
    value = request.input.example_list.examples.add().features.feature["x"].bytes_list.value
    value.append(b"x" * 20_000_000)
    transport = opened(f"http://127.0.0.1:{listener.getsockname()[1]}", max_attempts=1)
    start = time.monotonic()
    with pytest.raises(Timeout):
        transport.call(messages.CLASSIFY, request.SerializeToString(), 1.0)
    assert time.monotonic() - start < 2.5
    listener.close()


def test_a_name_that_takes_too_long_ends_with_the_deadline(monkeypatch):
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: time.sleep(1.5) or real(*args, **options))
    transport, start = RestTransport("http://localhost:1"), time.monotonic()
    with pytest.raises(Timeout):
        version(transport, 0.3)
    assert time.monotonic() - start < 1.2
    transport.close()


def test_one_call_s_time_is_not_the_next_one_s(opened):
    with HttpServer() as server:
        transport = opened(server.address)
        assert version(transport, 2.0) == 1
        time.sleep(2.1)
        assert version(transport, None) == 1
        assert server.connections == 1


def test_encrypted_connections(pems_of_localhost):
    certificate, key = pems_of_localhost
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with HttpServer(context=context) as server:
        transport = RestTransport(server.address, ConnectionConfig(tls=TlsConfig(root_certificates=certificate)))
        assert version(transport) == version(transport) == 1
        transport.close()
        stranger = RestTransport(server.address, ConnectionConfig(max_attempts=1))
        with pytest.raises(ServerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            version(stranger)
        stranger.close()


@pytest.fixture(scope="module")
def pems_of_localhost(tmp_path_factory):
    trustme = pytest.importorskip("trustme")
    folder = tmp_path_factory.mktemp("pems")
    root = trustme.CA()
    root.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    root.cert_pem.write_to_path(folder / "root.pem")
    both = folder / "chain.pem"
    both.write_bytes((folder / "server.pem").read_bytes() + (folder / "root.pem").read_bytes())
    return both, folder / "server.pem"


def slow(seconds):
    def answer(connection, number):
        time.sleep(seconds)
        connection.sendall(said(number))

    return answer


@pytest.mark.parametrize("grace", [10, 0.1])
def test_close_gives_calls_under_way_their_grace_and_tries_nothing_again(grace):
    with HttpServer(slow(1.8)) as server, ThreadPoolExecutor(1) as pool:
        transport = RestTransport(server.address)
        call = pool.submit(version, transport)
        while not server.requests:
            time.sleep(0.01)
        start = time.monotonic()
        transport.close(grace)
        if grace == 10:
            assert call.result(0.5) == 1
        else:
            with pytest.raises(Cancelled, match="client is closed"):
                call.result(5)
            assert time.monotonic() - start < 1.3, "it ends by itself after one and a half"
        with pytest.raises(Cancelled):
            version(transport)
        assert server.requests == 1


@pytest.mark.parametrize("grace", [10, 0.1])
def test_close_gives_tasks_under_way_their_grace_and_tries_nothing_again(grace):
    async def ask(server):
        transport = AsyncRestTransport(server.address)
        call = asyncio.create_task(transport.call(messages.GET_MODEL_STATUS, STATUS, 10))
        while not server.requests:
            await asyncio.sleep(0.01)
        start = time.monotonic()
        await transport.close(grace)
        if grace == 10:
            assert await asyncio.wait_for(call, 1)
        else:
            with pytest.raises(Cancelled, match="client is closed"):
                await call
            assert time.monotonic() - start < 1.3
        with pytest.raises(Cancelled):
            await transport.call(messages.GET_MODEL_STATUS, STATUS, 10)

    with HttpServer(slow(1.8)) as server:
        asyncio.run(ask(server))
        assert server.requests == 1


@pytest.fixture
def silent():
    """A function that makes an address take no connection and say nothing: its queue is full."""
    with contextlib.ExitStack() as stack:

        def fill(host, port):
            listener = stack.enter_context(socket.socket())
            listener.bind((host, port))
            listener.listen(0)
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
            return listener.getsockname()

        yield fill


def test_an_address_that_keeps_silent_leaves_the_next_one_time(opened, silent, monkeypatch):
    with HttpServer() as server:
        port = int(server.address.rpartition(":")[2])
        silent("127.0.0.2", port)
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert version(opened(f"http://two.test:{port}"), 4) == 1


def test_close_ends_the_waiting_for_a_connection(silent):
    host, port = silent("127.0.0.1", 0)
    with ThreadPoolExecutor(1) as pool:
        transport = RestTransport(f"http://{host}:{port}")
        call = pool.submit(version, transport, 20)
        time.sleep(0.3)
        start = time.monotonic()
        transport.close(0.1)
        with pytest.raises(Cancelled, match="client is closed"):
            call.result(15)
        assert time.monotonic() - start < 5


def test_close_ends_the_pauses_between_attempts():
    with ThreadPoolExecutor(1) as pool:
        transport = RestTransport(f"http://127.0.0.1:{free_port()}", ConnectionConfig(initial_backoff=2))
        call = pool.submit(version, transport)
        time.sleep(0.3)
        start = time.monotonic()
        transport.close(0.1)
        with pytest.raises(Cancelled):
            call.result(5)
        assert time.monotonic() - start < 1


def test_a_task_that_is_cancelled_is_cancelled_and_the_client_goes_on():
    async def ask(address):
        transport = AsyncRestTransport(address)
        call = asyncio.create_task(transport.call(messages.GET_MODEL_STATUS, STATUS, 10))
        await asyncio.sleep(0.2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await transport.call(messages.GET_MODEL_STATUS, STATUS, 10)
        await transport.close()

    with HttpServer(slow(0.4)) as server:
        asyncio.run(ask(server.address))


def test_a_client_may_wait_for_the_server(opened):
    port = free_port()
    transport = opened(f"http://127.0.0.1:{port}", wait_for_ready=True, initial_backoff=0.05, retry_budget=1)
    start = time.monotonic()
    with pytest.raises(Timeout):
        version(transport, 0.6)
    assert 0.5 < time.monotonic() - start < 2
    timer = threading.Timer(0.5, lambda: started.append(HttpServer(port=port)))
    started = []
    timer.start()
    assert version(transport, 20) == 1
    started[0].close()


def test_a_server_that_fails_is_not_waited_for(opened):
    """Only a connection is: what a server says is tried again `max_attempts` times."""
    with HttpServer(lambda connection, number: connection.sendall(said(status="503 no"))) as server:
        with pytest.raises(ServerUnavailable):
            version(opened(server.address, wait_for_ready=True, max_attempts=2, initial_backoff=0.01))
        assert server.requests == 2


def test_a_bad_gateway_is_tried_again(opened):
    def answer(connection, number):
        connection.sendall(said(7, "200 OK" if server.requests == 3 else "502 Bad Gateway"))

    with HttpServer(answer) as server:
        transport = opened(server.address, initial_backoff=0.01)
        assert version(transport) == 7 and server.requests == 3
        server.requests = 10
        with pytest.raises(ServerUnavailable, match="HTTP status 502") as caught:
            version(transport)
        assert isinstance(caught.value, CallError) and server.requests == 14


def test_threads_share_the_connections_and_no_answer_is_another_s():
    with HttpServer(slow(0.01)) as server, ThreadPoolExecutor(8) as pool:
        transport = RestTransport(server.address)
        found = list(pool.map(lambda _: version(transport), range(200)))
        transport.close()
        assert len(found) == 200 and server.requests == 200
        assert server.connections <= 8 and set(found) <= set(range(1, 9))
