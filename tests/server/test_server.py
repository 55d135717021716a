"""The life of a server: start, health, many requests, stop, kill."""

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
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig
from tfllm.errors import CallError, Cancelled, ConfigError, RepositoryError, ServerUnavailable, Timeout
from tfllm.repository_labels import set_label
from tfllm.server.config import ServerConfig
from tfllm.server.server import serve

SERVING = health_pb2.HealthCheckResponse.SERVING


def health_of(channel, name):
    return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status


def test_serves_a_folder_of_models_newest_versions_only(models):
    with serve(models, port=0) as server:
        assert server.models == {"classic": (7,), "toy": (2,)}
        assert server.address == f"127.0.0.1:{server.port}"
        with Client(server.address, model="toy") as client:
            assert client.predict_arrays({"x": np.float32([2])})["y"].tolist() == [101]
            assert [row.version for row in client.status()] == [2]


def test_serves_one_model_under_another_name(models):
    with serve(models / "toy", port=0, model_name="other", version_policy="all") as server:
        assert server.models == {"other": (1, 2)}
        with Client(server.address, model="other", version=1) as client:
            assert client.predict_arrays({"x": np.float32([2])})["y"].tolist() == [2]


def test_labels_of_the_repository_are_served_and_followed(models, tmp_path):
    shutil.copytree(models / "toy", tmp_path / "toy")
    set_label(tmp_path / "toy", "stable", 1)
    config = ServerConfig(file_system_poll_wait_seconds=0.05)
    with serve(tmp_path, port=0, config=config) as server:
        assert server.models == {"toy": (1, 2)}
        with Client(server.address, model="toy", label="stable") as client:
            assert client.predict_arrays({"x": np.float32([2])})["y"].tolist() == [2]
            set_label(tmp_path / "toy", "stable", 2)
            give_up = time.monotonic() + 30
            while client.predict_arrays({"x": np.float32([2])})["y"].tolist() == [2]:
                assert time.monotonic() < give_up
                time.sleep(0.05)
            assert client.predict_arrays({"x": np.float32([2])})["y"].tolist() == [101]


def test_health_by_model_and_overall(server, channel):
    assert [health_of(channel, name) for name in ("", "toy", "classic")] == [SERVING] * 3
    with pytest.raises(grpc.RpcError) as caught:
        health_of(channel, "nope")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_is_not_serving_until_the_models_are_loaded(models, monkeypatch):
    from tfllm.server import loading as module

    seen = []

    def watched(source, threads, load=module.Servable):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            seen.extend(health_of(channel, name) for name in ("", "toy"))
        with Client(f"127.0.0.1:{port}", model="toy") as client:
            seen.extend(row.state for row in client.status())
        return load(source, threads)

    port = free_port()
    monkeypatch.setattr(module, "Servable", watched)
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    with serve(models / "toy", port=port) as server:
        assert seen == [not_serving, not_serving, "LOADING"]
        with grpc.insecure_channel(server.address) as channel:
            assert health_of(channel, "toy") == SERVING


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_taken_port_is_a_clear_error(models, server):
    with pytest.raises(ConfigError, match=f"port={server.port}, which cannot be opened"):
        serve(models, port=server.port)


def test_a_model_that_cannot_be_loaded_is_a_clear_error(models, tmp_path):
    broken = tmp_path / "broken" / "3"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"this is no model")
    (tmp_path / "good").symlink_to(models / "toy")
    port = free_port()
    with pytest.raises(RepositoryError, match=r"broken/3'?: "):
        serve(tmp_path, port=port)
    with serve(models / "toy", port=port):  # the port was given back
        pass


def test_an_unknown_version_policy(models):
    with pytest.raises(ConfigError, match="version_policy='newest'"):
        serve(models, port=0, version_policy="newest")


def test_32_threads_get_their_own_answers(server):
    def ask(number):
        x = np.float32([number, number + 1])
        return client.predict_arrays({"x": x})["y"].tolist() == [number / 2 + 100, (number + 1) / 2 + 100]

    with Client(server.address, model="toy") as client, ThreadPoolExecutor(32) as pool:
        assert all(pool.map(ask, range(640)))


def test_more_requests_than_workers_wait_and_are_not_refused(models):
    seconds = np.float64(0.05)
    config = ServerConfig(grpc_max_threads=2)
    with serve(models / "toy", port=0, config=config) as server, Client(server.address, model="toy") as client:
        with ThreadPoolExecutor(24) as pool:
            calls = [pool.submit(client.predict_arrays, {"seconds": seconds}, "slow") for _ in range(24)]
            assert all(call.result()["turns"] > 0 for call in calls)


def test_a_request_that_nobody_waits_for_is_not_run(models):
    """One worker is busy for a second; what gave up behind it must not keep it busy after that (gRPC sees to it)."""
    with serve(models / "toy", port=0, config=ServerConfig(grpc_max_threads=1)) as server:
        with Client(server.address, model="toy", timeout=30) as patient:
            with ThreadPoolExecutor(5) as pool:
                busy = pool.submit(patient.predict_arrays, {"seconds": np.float64(1)}, "slow")
                time.sleep(0.3)
                with Client(server.address, model="toy", timeout=0.2) as hasty:
                    waiting = [pool.submit(hasty.predict_arrays, {"seconds": np.float64(5)}, "slow") for _ in range(4)]
                    for call in waiting:
                        with pytest.raises(Timeout):
                            call.result()
                busy.result()
            start = time.monotonic()
            patient.predict_arrays({"x": np.float32([2])})
            assert time.monotonic() - start < 2


def test_stop_lets_requests_under_way_end_and_takes_no_new_ones(models):
    server = serve(models / "toy", port=0)
    at_once = ConnectionConfig(max_attempts=1)  # a refusal is told at once, not after some tries
    with Client(server.address, model="toy", connection=at_once) as client, ThreadPoolExecutor(2) as pool:
        client.status()
        under_way = pool.submit(client.predict_arrays, {"seconds": np.float64(1)}, "slow")
        time.sleep(0.3)
        stopping = pool.submit(server.stop, 10)
        time.sleep(0.2)
        with pytest.raises(ServerUnavailable):
            client.status()
        assert not stopping.done()
        assert under_way.result()["turns"] > 0
        stopping.result()
    assert server.models == {"toy": ()}
    server.stop()


def test_stop_without_grace_cancels(models):
    server = serve(models / "toy", port=0)
    with Client(server.address, model="toy") as client, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(client.predict_arrays, {"seconds": np.float64(1)}, "slow")
        time.sleep(0.3)
        start = time.monotonic()
        server.stop(0)
        with pytest.raises((Cancelled, ServerUnavailable)):
            under_way.result()
        assert time.monotonic() - start < 5


def test_wait_returns_once_stopped(models):
    server = serve(models / "classic", port=0)
    waiter = threading.Thread(target=server.wait)
    waiter.start()
    waiter.join(0.2)
    assert waiter.is_alive()
    server.stop()
    waiter.join(10)
    assert not waiter.is_alive()


def test_an_answer_of_5_megabytes(server):
    x = np.arange(1_300_000, dtype=np.float32)
    with Client(server.address, model="toy") as client:
        y = client.predict_arrays({"x": x})["y"]
    assert y.nbytes > 5_000_000
    np.testing.assert_array_equal(y, x / 2 + 100)


def test_a_failure_inside_the_server_is_internal_and_logged(models, monkeypatch, caplog):
    from tfllm.server import engine

    def broken(self, target):
        raise KeyError("a bug")

    monkeypatch.setattr(engine.Engine, "find", broken)
    with serve(models / "classic", port=0) as server, Client(server.address, model="classic") as client:
        with pytest.raises(CallError) as caught:
            client.predict_arrays({"x": np.float32([[2]])})
    assert (caught.value.code, caught.value.details) == ("INTERNAL", "KeyError: 'a bug'")
    assert "Predict failed" in caplog.text
    assert "Traceback" in caplog.text


def test_a_kill_leaves_nothing_behind(models):
    def files():
        return sorted(str(path) for path in models.rglob("*"))

    before, port = files(), free_port()
    code = f"from tfllm.server.server import serve; serve({str(models)!r}, port={port}).wait()"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert files() == before
    with serve(models / "classic", port=port) as server:
        assert server.port == port


def test_importing_the_package_loads_no_tensorflow():
    code = "import sys, tfllm.server, tfllm.server.discovery, tfllm.server.engine; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_unix_socket(models, tmp_path):
    path = tmp_path / "tfllm.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with serve(models / "classic", port=0, config=ServerConfig(grpc_socket_path=str(path))):
        with Client(f"unix:{path}", model="classic") as client:
            assert client.predict_arrays({"x": np.float32([[2]])})["y"].tolist() == [[6]]


def test_a_path_and_a_config_file(models):
    for arguments in ({}, {"path": models, "model_config_file": "x"}):
        with pytest.raises(ConfigError, match="a path or a model_config_file"):
            serve(**arguments)
