"""What goes wrong outside of the server: it answers on, says what is the matter, and is right afterwards."""

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_requests import fill, floats
from tensorflow_serving.apis import predict_pb2

from tfllm.client.client import Client
from tfllm.server.config import ServerConfig
from tfllm.server.server import serve

POLL = ServerConfig(file_system_poll_wait_seconds=0.05, model_config_file_poll_wait_seconds=0.05)


@pytest.fixture
def base(models, tmp_path):
    """Return a folder of versions with version 1 in it."""
    shutil.copytree(models / "toy" / "1", tmp_path / "toy" / "1")
    return tmp_path / "toy"


def answer(client):
    return client.predict_arrays({"x": np.float32([2])})["y"].tolist()


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    assert true()


@pytest.mark.parametrize(
    "part", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_a_truncated_model_never_replaces_a_good_one(models, base, tmp_path, part):
    shutil.copytree(models / "toy" / "2", tmp_path / "2")
    file = tmp_path / "2" / part
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with serve(base, port=0, config=POLL) as server, Client(server.address, model="toy") as client:
        (tmp_path / "2").rename(base / "2")
        wait_until(lambda: client.status()[0].state == "END")
        assert client.status()[0].error_message
        assert answer(client) == [2]
        shutil.rmtree(base / "2")
        shutil.copytree(models / "toy" / "2", tmp_path / "2")
        (tmp_path / "2").rename(base / "2")
        wait_until(lambda: answer(client) == [101])


def test_a_folder_that_disappears(models, base):
    with serve(base, port=0, config=POLL) as server, Client(server.address, model="toy") as client:
        shutil.rmtree(base)
        time.sleep(0.3)
        assert answer(client) == [2]
        shutil.copytree(models / "toy" / "2", base / "2")
        wait_until(lambda: answer(client) == [101])


def test_a_config_file_that_is_damaged_while_it_runs(models, tmp_path):
    file = tmp_path / "models.config"
    good = f'model_config_list {{ config {{ name: "toy" base_path: "{models}/toy" model_platform: "tensorflow" }} }}'
    file.write_text(good)
    with serve(model_config_file=file, port=0, config=POLL) as server, Client(server.address, model="toy") as client:
        for text in ("nonsense {", "", "\x00\xff", good.replace(str(models), "/nowhere"), good.replace("toy", "")):
            file.write_text(text)
            time.sleep(0.15)
            assert answer(client) == [101]
        file.write_text(good.replace('name: "toy"', 'name: "other"'))
        wait_until(lambda: server.models.get("other") == (2,))


def test_a_config_file_that_changes_while_the_server_starts(models, tmp_path, monkeypatch):
    from tfllm.server import loading as module

    file = tmp_path / "models.config"
    good = f'model_config_list {{ config {{ name: "toy" base_path: "{models}/toy" model_platform: "tensorflow" }} }}'
    file.write_text(good)

    def load(source, threads, load=module.Servable):
        file.write_text(good.replace('name: "toy"', 'name: "other"'))
        return load(source, threads)

    monkeypatch.setattr(module, "Servable", load)
    with serve(model_config_file=file, port=0, config=POLL) as server:
        wait_until(lambda: server.models.get("other") == (2,))


def test_kill_9_and_start_again(base):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tfllm", "serve", str(base), f"--port={port}"]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout.readline().startswith("Serving toy")
        with Client(f"127.0.0.1:{port}", model="toy") as client:
            assert answer(client) == [2]
        process.send_signal(signal.SIGKILL)
        process.wait()


def damaged(count, seed=0):
    """Make protobuf requests with some bytes changed or cut."""
    request = predict_pb2.PredictRequest()
    fill(request.model_spec, "toy")
    request.inputs["x"].CopyFrom(floats(*range(20)))
    good, order = request.SerializeToString(), random.Random(seed)
    for _ in range(count):
        data = bytearray(good)
        for _ in range(order.randint(1, 6)):
            data[order.randrange(len(data))] = order.randrange(256)
        yield bytes(data[: order.randrange(len(data) + 1)] if order.random() < 0.3 else data)


def send_damaged(server, count):
    statuses = set()
    with grpc.insecure_channel(server.address) as channel:
        for method in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"):
            call = channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
            waiting = [call.future(data, timeout=30) for data in damaged(count // 5)]
            statuses |= {future.code().name for future in waiting}
    return statuses


def test_damaged_protobuf(server):
    statuses = send_damaged(server, 2000)
    assert statuses <= {"OK", "INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"}
    with Client(server.address, model="toy") as client:
        assert answer(client) == [101]


@pytest.mark.slow
def test_100000_damaged_requests_leave_memory_as_it_was(models):
    import psutil

    with serve(models, port=0) as server, Client(server.address, model="toy") as client:
        send_damaged(server, 5000)
        before = psutil.Process().memory_info().rss
        for _ in range(20):
            send_damaged(server, 5000)
        assert psutil.Process().memory_info().rss - before < 100_000_000
        assert answer(client) == [101]


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": [[1e308] * 3] * 3},
        {"x": {"b64": "////"}},
        {"x": [[[[[[[[[[1]]]]]]]]]]},
        {"x": "\ud800"},
        {"x" * 10_000: 1},
        [[]] * 1000,
    ],
)
def test_odd_json(rest, inputs):
    status, _ = rest("POST", "/v1/models/toy:predict", json.dumps({"inputs": inputs}).encode())
    assert status in (200, 400)


def test_slow_connections_are_closed_and_take_nobodys_place(models, monkeypatch):
    from tfllm.server import rest_server

    monkeypatch.setattr(rest_server, "_SILENT_SECONDS", 0.5)
    config = ServerConfig(rest_api_num_threads=1, rest_api_timeout_in_ms=1000)
    with serve(models / "toy", port=0, rest_api_port=0, config=config) as server:
        slow = [socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=20) for _ in range(50)]
        for connection in slow[:25]:
            connection.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nHos")  # no end of the headers
        for connection in slow[25:]:
            connection.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        quick = []
        thread = threading.Thread(target=lambda: quick.append(ask(server.rest_api_port)))
        thread.start()
        thread.join(10)
        assert quick == [200]
        for connection in slow[:25]:
            assert connection.recv(100) == b""
        for connection in slow[25:]:
            assert connection.recv(100).startswith(b"HTTP/1.1 504")
        assert ask(server.rest_api_port) == 200


def test_bodies_that_do_not_come_take_no_place_among_those_that_have(models):
    config = ServerConfig(rest_api_num_threads=1, max_waiting_requests=2)
    with serve(models / "toy", port=0, rest_api_port=0, config=config) as server:
        slow = [socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=20) for _ in range(20)]
        for connection in slow:
            connection.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        wait_until(lambda: server._rest._under_way == 20)
        assert ask(server.rest_api_port) == 200
        for connection in slow:
            connection.close()


def test_large_bodies_have_so_much_room_together(models):
    config = ServerConfig(max_request_bytes=1_000_000)
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n"
    with serve(models / "toy", port=0, rest_api_port=0, config=config) as server:
        slow = [socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=20) for _ in range(5)]
        for connection in slow[:4]:
            connection.sendall(head + b" " * 990_000)
        wait_until(lambda: server._rest._room._held == 4 * (990_000 - 65_536))
        slow[4].sendall(head + b" " * 990_000)
        assert slow[4].recv(100).startswith(b"HTTP/1.1 429")
        assert ask(server.rest_api_port) == 200  # small ones have room
        for connection in slow:
            connection.close()
        wait_until(lambda: server._rest._room._held == 0)


def test_what_a_caller_leaves_behind_counts_until_it_is_done(models):
    config = ServerConfig(rest_api_num_threads=1, enable_batching=False)
    with serve(models / "toy", port=0, rest_api_port=0, config=config) as server:
        rest = server._rest
        running, waiting = (socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=20) for _ in range(2))
        body = b'{"signature_name": "slow", "inputs": 2.0}' + b" " * 100_000
        head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        running.sendall(head + body)
        wait_until(lambda: rest._ready == 1 and not rest._workers._work_queue.qsize())
        waiting.sendall(head + body)
        wait_until(lambda: rest._ready == 2)
        held = rest._room._held
        waiting.close()
        wait_until(lambda: rest._ready == 1)
        assert rest._room._held == held / 2  # at once, though the worker is busy
        running.close()
        wait_until(lambda: rest._under_way == 0)
        assert rest._ready == 1  # the worker goes on
        wait_until(lambda: rest._ready == 0 and rest._room._held == 0)
        assert ask(server.rest_api_port) == 200


def test_calls_without_a_message_keep_nobody_waiting_for_long(models):
    """Headers alone are enough for gRPC to give a call a thread; more such calls come than there are threads."""
    config = ServerConfig(grpc_max_threads=2, grpc_message_seconds=1, max_waiting_requests=8)
    never = threading.Event()

    def silent():
        never.wait()
        yield b""

    methods = ["/tensorflow.serving.PredictionService/Predict", "/grpc.health.v1.Health/Check"]
    streams = ["/grpc.health.v1.Health/Watch", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
    with serve(models / "toy", port=0, config=config) as server, grpc.insecure_channel(server.address) as slow:
        calls = [slow.stream_unary(name).future(silent()) for name in methods for _ in range(40)]
        calls += [slow.stream_stream(name)(silent()) for name in streams for _ in range(80)]
        with grpc.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest(service="toy"), timeout=60).status == 1
            assert next(health.Watch(health_pb2.HealthCheckRequest(service="toy"), timeout=60)).status == 1
        with Client(server.address, model="toy", timeout=60) as client:
            wait_until(lambda: server._workers.waiting < 8, 60)
            assert answer(client) == [101]
        codes = {call.code().name for call in calls}
        assert codes == {"CANCELLED", "RESOURCE_EXHAUSTED"}
        never.set()


def test_calls_that_end_without_a_message_are_refused(server):
    with grpc.insecure_channel(server.address) as channel:
        for name in ("tensorflow.serving.PredictionService/Predict", "grpc.health.v1.Health/Check"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.stream_unary(f"/{name}")(iter([]), timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "requires exactly one request message" in caught.value.details()


def ask(port):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/v1/models/toy:predict", '{"instances": [2]}')
    return connection.getresponse().status
