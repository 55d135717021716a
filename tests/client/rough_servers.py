"""Servers that break, sleep, refuse, move and go silent, for the tests of the transports."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from tfllm.client.aio_transport import GrpcAioTransport
from tfllm.wire import messages


class Answers(grpc.GenericRpcHandler):
    """Answers `/Echo/` with the request and a name, `/Slow/` late, and `/Fail/<STATUS>` so often before it answers.

    A prediction says in its request what it wants of these: `b"Echo x"`, `b"Slow 0.5"`, `b"Fail UNAVAILABLE"`. Every
    answer is `late` by so many seconds.
    """

    def __init__(self, name=b"", late=0.0):
        self.name = name
        self.late = late
        self.calls = 0
        self.failures = 10**6
        self.metadata = {}

    def service(self, details):
        if details.method.startswith("/grpc."):
            return None  # it has no health service
        method, _, status = details.method.strip("/").partition("/")
        self.metadata = dict(details.invocation_metadata)

        def answer(request, context):
            self.calls += 1
            kind, word = method, status or request.decode("latin-1")
            if details.method == messages.PREDICT:
                kind, word = request.decode().split()
            time.sleep(self.late + (float(word) if kind == "Slow" else 0.0))
            if kind == "Fail" and self.calls <= self.failures:
                context.abort(grpc.StatusCode[word], "not now")
            return self.name or request

        return grpc.unary_unary_rpc_method_handler(answer)


@contextlib.contextmanager
def running(answers, port=0, credentials=None, options=(), host="127.0.0.1"):
    server = grpc.server(ThreadPoolExecutor(8), handlers=[answers], options=[("grpc.so_reuseport", 0), *options])
    address = f"{host}:{port}"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield f"{host}:{port}"
    finally:
        server.stop(None).wait()


class BlockingTransport:
    """A transport for event loops behind the methods of one for threads: a GrpcAioTransport."""

    kind = GrpcAioTransport

    def __init__(self, *args):
        self._loop = asyncio.new_event_loop()
        self._transport = self.kind(*args)

    def call(self, *args):
        return self._loop.run_until_complete(self._transport.call(*args))

    def close(self, grace=0.0):
        self._loop.run_until_complete(self._transport.close(grace))


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


SERVER_SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from rough_servers import Answers, running
with running(Answers(sys.argv[2].encode(), float(sys.argv[3])), int(sys.argv[4]), host=sys.argv[5]) as address:
    print(address, flush=True)
    time.sleep(120)
"""


@contextlib.contextmanager
def processes(names, late=None, port=0, host="127.0.0.1"):
    """Yield an address -> process for servers that can be killed.

    Args:
        names: what each answers.
        late: name -> seconds that its answers take.
        port: the port, for one server.
        host: where it listens.
    """
    command = [sys.executable, "-c", SERVER_SCRIPT, str(Path(__file__).parent)]
    further = [[name, str((late or {}).get(name, 0.0)), str(port), host] for name in names]
    started = [subprocess.Popen([*command, *each], stdout=subprocess.PIPE, text=True) for each in further]
    try:
        yield {process.stdout.readline().strip(): process for process in started}
    finally:
        for process in started:
            process.kill()
            process.communicate()


class NameServer:
    """A DNS server for one name, on a port of its own: answers A questions with the addresses of the moment."""

    def __init__(self, addresses):
        self.addresses = addresses
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                question, sender = self._socket.recvfrom(512)
                end = question.index(b"\0", 12) + 5
                is_a = question[end - 4 : end - 2] == b"\0\x01"
                found = self.addresses if is_a else []
                self.asked += is_a
                head = question[:2] + b"\x81\x80\0\x01" + len(found).to_bytes(2, "big") + b"\0\0\0\0"
                records = [b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04" + socket.inet_aton(item) for item in found]
                self._socket.sendto(head + question[12:end] + b"".join(records), sender)

    def close(self):
        self._socket.close()


class Proxy:
    """A TCP proxy; `hush` makes the connections there are go silent, both ways, without closing them."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self._behind = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = []
        self._silent = set()
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                front, _ = self._listener.accept()
                self.accepted += 1
                back = socket.create_connection(self._behind)
                self._open += [front, back]
                for source, sink in ((front, back), (back, front)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source not in self._silent:
                    sink.sendall(data)
            sink.close()

    def hush(self):
        self._silent |= set(self._open)

    def close(self):
        for item in [self._listener, *self._open]:
            item.close()
