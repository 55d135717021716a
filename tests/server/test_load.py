"""Under load: health is answered, what is too much is refused at once, and what is under way ends."""

import http.client
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import prediction_log_pb2

from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig
from tfllm.errors import CallError, Overloaded
from tfllm.server.config import ServerConfig
from tfllm.server.server import serve
from tfllm.server.warmup import WARMUP_FILE

AT_ONCE = ConnectionConfig(max_attempts=1)
SERVING = health_pb2.HealthCheckResponse.SERVING


def wait_until(true, seconds=10):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    assert true()


def test_health_is_answered_while_all_workers_are_busy(models):
    config = ServerConfig(grpc_max_threads=1)
    with serve(models / "toy", port=0, config=config) as server, ThreadPoolExecutor(4) as pool:
        with (
            Client(server.address, model="toy", timeout=30) as client,
            grpc.insecure_channel(server.address) as channel,
        ):
            stub = health_pb2_grpc.HealthStub(channel)
            calls = [pool.submit(client.predict_arrays, {"seconds": np.float64(1)}, "slow") for _ in range(3)]
            wait_until(lambda: server._workers.waiting >= 2)
            start = time.monotonic()
            assert stub.Check(health_pb2.HealthCheckRequest(service="toy"), timeout=5).status == SERVING
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="toy"), timeout=30)
            assert next(watch).status == SERVING
            assert time.monotonic() - start < 0.8
            assert not calls[-1].done()
            watch.cancel()
            for call in calls:
                call.result()


def test_watchers_that_leave_while_states_change_stop_nothing(models):
    config = ServerConfig(file_system_poll_wait_seconds=0)
    with serve(models / "toy", port=0, config=config) as server, grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for turn in range(50):
            watches = [stub.Watch(health_pb2.HealthCheckRequest(service="toy"), timeout=30) for _ in range(10)]
            for watch in watches:
                next(watch)
            changing = threading.Thread(target=server._set_health, args=("toy", turn % 2 == 1), daemon=True)
            changing.start()
            for watch in watches:
                watch.cancel()
            changing.join(10)
            assert not changing.is_alive()
            assert stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=10).status == SERVING


def test_watchers_hear_of_changes(models):
    with serve(models / "toy", port=0) as server, grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(service="toy"), timeout=30) for _ in range(20)]
        assert [next(watch).status for watch in watches] == [SERVING] * 20
        with Client(server.address, model="toy") as client:
            client.predict_arrays({"x": np.float32([1])})
        stopping = threading.Thread(target=server.stop, args=(2,))
        stopping.start()
        assert [next(watch).status for watch in watches] == [health_pb2.HealthCheckResponse.NOT_SERVING] * 20
        for watch in watches:
            watch.cancel()
        stopping.join()


def test_what_is_too_much_is_refused_at_once_over_grpc(models):
    config = ServerConfig(grpc_max_threads=1, max_waiting_requests=2)
    with serve(models / "toy", port=0, config=config) as server, ThreadPoolExecutor(40) as pool:
        with Client(server.address, model="toy", timeout=30, connection=AT_ONCE) as client:
            first = [pool.submit(client.predict_arrays, {"seconds": np.float64(1)}, "slow") for _ in range(3)]
            wait_until(lambda: server._workers.waiting == 2)
            start = time.monotonic()
            for _ in range(5):
                with pytest.raises(Overloaded, match="Too many requests wait"):
                    client.predict_arrays({"x": np.float32([1])})
            assert time.monotonic() - start < 0.8
            for call in first:
                call.result()
            assert client.predict_arrays({"x": np.float32([2])})["y"].tolist() == [101]


def test_with_no_waiting_allowed_as_many_run_as_there_are_workers(models):
    config = ServerConfig(grpc_max_threads=2, max_waiting_requests=0)
    with serve(models / "toy", port=0, config=config) as server, ThreadPoolExecutor(4) as pool:
        with Client(server.address, model="toy", timeout=30, connection=AT_ONCE) as client:
            for _ in range(200):  # one after the other, as fast as answers come
                assert client.predict_arrays({"x": np.float32([2])})["y"].tolist() == [101]
            slow = [pool.submit(client.predict_arrays, {"seconds": np.float64(4)}, "slow") for _ in range(2)]
            wait_until(lambda: server._workers.full(0))
            with pytest.raises(Overloaded, match="Too many requests wait"):
                client.predict_arrays({"x": np.float32([1])})
            for call in slow:
                assert call.result()["turns"] > 0


def test_a_busy_model_leaves_room_for_others(models):
    """40 callers keep all workers at one model; whoever asks the other hears, and they hear that it is too much."""
    config = ServerConfig(grpc_max_threads=4)
    refused, enough = threading.Event(), threading.Event()
    with serve(models, port=0, config=config) as server, ThreadPoolExecutor(40) as pool:
        busy = Client(server.address, model="toy", timeout=60, connection=AT_ONCE)
        quiet = Client(server.address, model="classic", timeout=60, connection=AT_ONCE)

        def insist():
            while not enough.is_set():
                try:
                    busy.predict_arrays({"seconds": np.float64(0.2)}, "slow")
                except Overloaded as error:
                    assert "other models are waiting" in str(error)
                    refused.set()
                    enough.wait(0.1)

        with busy, quiet:
            callers = [pool.submit(insist) for _ in range(40)]
            wait_until(lambda: server._workers.waiting > 20, 60)
            assert not refused.is_set()
            for _ in range(20):
                assert quiet.predict_arrays({"x": np.float32([[2]])})["y"].tolist() == [[6]]
            assert refused.wait(20)
            enough.set()
            for caller in callers:
                caller.result()


def test_what_is_too_much_is_refused_at_once_over_rest(models):
    config = ServerConfig(rest_api_num_threads=1, max_waiting_requests=1)
    with serve(models / "toy", port=0, rest_api_port=0, config=config) as server, ThreadPoolExecutor(8) as pool:

        def ask(body):
            connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=30)
            connection.request("POST", "/v1/models/toy:predict", body)
            return connection.getresponse().status

        slow = [pool.submit(ask, '{"signature_name": "slow", "inputs": 1.0}') for _ in range(2)]
        wait_until(lambda: server._rest._ready == 2)
        assert ask('{"instances": [2]}') == 429
        assert [call.result() for call in slow] == [200, 200]
        assert ask('{"instances": [2]}') == 200


def test_so_many_at_once_on_one_model(models):
    config = ServerConfig(grpc_max_threads=8, max_requests_per_model=1)
    with serve(models, port=0, config=config) as server, ThreadPoolExecutor(2) as pool:
        with Client(server.address, model="toy", connection=AT_ONCE) as client:
            slow = pool.submit(client.predict_arrays, {"seconds": np.float64(0.7)}, "slow")
            wait_until(lambda: 'tfllm_requests_in_flight{model_name="toy"} 1' in server.metrics.text())
            with pytest.raises(Overloaded, match="1 requests are under way on model toy"):
                client.predict_arrays({"x": np.float32([1])})
            with Client(server.address, model="classic") as other:
                assert other.predict_arrays({"x": np.float32([[2]])})["y"].tolist() == [[6]]
            slow.result()


def test_malformed_protobuf_is_refused_and_logged_nowhere(server, caplog):
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff private", timeout=10)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert not caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_models_are_loaded_ends_it(models, tmp_path, number):
    """A warm-up that runs for 100 s in TensorFlow, where Python does not hear signals."""
    shutil.copytree(models / "toy" / "2", tmp_path / "toy" / "2")
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "slow"
    log.predict_log.request.inputs["seconds"].CopyFrom(tf.make_tensor_proto(100.0, tf.float64))
    file = tmp_path / "toy" / "2" / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tfllm", "serve", str(tmp_path / "toy"), f"--port={port}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        with Client(f"127.0.0.1:{port}", model="toy", connection=AT_ONCE) as client:
            wait_until(lambda: is_loading(client), 120)
            time.sleep(1)  # it loads for longer than that
        process.send_signal(number)
        assert process.wait(60) == (0 if number == signal.SIGTERM else 130)
    finally:
        process.kill()
    assert process.stderr.read().endswith("Stopping.\n")


def is_loading(client):
    try:
        return client.status()[0].state == "LOADING"
    except CallError:  # the port is not open yet
        return False


def test_a_port_closes_before_anything_is_waited_for(models, monkeypatch):
    """A look for new versions that takes long does not let more requests in."""
    looking, done = threading.Event(), threading.Event()
    config = ServerConfig(file_system_poll_wait_seconds=0.01)

    def look(self):
        looking.set()
        done.wait(60)

    monkeypatch.setattr("tfllm.server.manager.ModelManager.poll", look)
    with serve(models / "toy", port=0, rest_api_port=0, config=config) as server, ThreadPoolExecutor(1) as pool:
        assert looking.wait(20)
        stopping = pool.submit(server.stop, 60)
        for port in (server.port, server.rest_api_port):
            wait_until(lambda port=port: not is_open(port))
        assert not stopping.done()
        done.set()
        stopping.result(20)


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_sigterm_lets_requests_end_and_exits_with_0(models):
    command = [sys.executable, "-m", "tfllm", "serve", str(models / "toy"), "--port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = process.stdout.readline()
    address = line.split(" on ")[1].split()[0]
    with Client(address, model="toy", connection=AT_ONCE) as client, ThreadPoolExecutor(1) as pool:
        client.status()
        call = pool.submit(client.predict_arrays, {"seconds": np.float64(1)}, "slow")
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        assert call.result()["turns"] > 0
        assert process.wait(20) == 0
        with pytest.raises(CallError):
            client.status()
