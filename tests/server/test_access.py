"""Who is let in, over gRPC and REST, and that nothing of a text gets into a log."""

import hashlib
import http.client
import json
import logging
import socket
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig
from tfllm.errors import CallError, ConfigError, Overloaded, PermissionDenied, Unauthenticated
from tfllm.server.access import Access, RateLimit, make_access
from tfllm.server.config import ServerConfig
from tfllm.server.observers import RequestEvent
from tfllm.server.server import serve

SECRET = "correct horse battery staple"
X = {"x": np.float32([2])}


@pytest.fixture(scope="module")
def guarded(models, tmp_path_factory):
    """Return a server where `ana` may use `toy` and `root` everything, and its audit log."""
    folder = tmp_path_factory.mktemp("settings")
    tables = [
        f'[{name}]\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n{rights}\n'
        for name, token, rights in (("ana", SECRET, 'models = ["toy"]'), ("root", "r", 'models = ["*"]\nadmin = true'))
    ]
    (folder / "tokens.toml").write_text("".join(tables))
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    config = ServerConfig(
        auth_token_file=str(folder / "tokens.toml"),
        audit_log_file=str(folder / "audit.log"),
        monitoring_config_file=str(folder / "monitoring.config"),
    )
    with serve(models, port=0, rest_api_port=0, config=config) as server:
        yield server, folder / "audit.log"


def client_of(server, token=None, model="toy"):
    connection = ConnectionConfig(max_attempts=1, metadata=bearer(token))
    return Client(server.address, model=model, connection=connection)


def bearer(token):
    return {} if token is None else {"authorization": f"Bearer {token}"}


def ask(server, method, path, token=None, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=30)
    connection.request(method, path, body, {**(headers or {}), **bearer(token)})
    response = connection.getresponse()
    return response.status, response.read().decode(), response.headers


def test_the_right_token(guarded):
    with client_of(guarded[0], SECRET) as client:
        assert client.predict_arrays(X)["y"].tolist() == [101]
    assert ask(guarded[0], "POST", "/v1/models/toy:predict", SECRET, '{"instances": [2]}')[0] == 200


@pytest.mark.parametrize(
    "token, model, error, status",
    [
        (None, "toy", Unauthenticated, 401),
        ("wrong", "toy", Unauthenticated, 401),
        (SECRET, "classic", PermissionDenied, 403),
        (SECRET, "no_such_model", PermissionDenied, 403),
    ],
)
def test_no_token_a_wrong_one_another_models(guarded, token, model, error, status):
    with client_of(guarded[0], token, model) as client:
        for call in (lambda: client.predict_arrays(X), client.status):
            with pytest.raises(error):
                call()
    body = '{"instances": [2]}'
    for method, path in (("POST", ":predict"), ("POST", ":classify"), ("GET", ""), ("GET", "/metadata")):
        data = '{"examples": [{"x": 2.0}]}' if path == ":classify" else body if method == "POST" else None
        answered, text, headers = ask(guarded[0], method, f"/v1/models/{model}{path}", token, data)
        assert answered == status, text
        assert (headers["WWW-Authenticate"] == "Bearer") == (status == 401)


def test_what_needs_no_token_and_what_needs_any(guarded):
    server = guarded[0]
    assert [ask(server, "GET", path)[0] for path in ("/healthz", "/readyz")] == [200, 200]
    for path in ("/tfllm/models", "/monitoring/prometheus/metrics", "/nothing"):
        assert ask(server, "GET", path)[0] == 401
    listed = json.loads(ask(server, "GET", "/tfllm/models", SECRET)[1])["models"]
    assert [model["name"] for model in listed] == ["toy"]
    assert ask(server, "GET", "/monitoring/prometheus/metrics", SECRET)[0] == 200
    with grpc.insecure_channel(server.address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        assert check(health_pb2.HealthCheckRequest(service="toy"), timeout=10).status == 1
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        with pytest.raises(grpc.RpcError) as caught:
            list(reflect(iter([question]), timeout=10))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        answers = list(reflect(iter([question]), timeout=10, metadata=[("authorization", f"Bearer {SECRET}")]))
        assert len(answers[0].list_services_response.service) >= 3


def test_only_an_administrator_may_reload(guarded):
    with grpc.insecure_channel(guarded[0].address) as channel:
        reload = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
        for token, code in ((SECRET, "PERMISSION_DENIED"), ("r", "INVALID_ARGUMENT")):
            with pytest.raises(grpc.RpcError) as caught:
                metadata = [("authorization", f"Bearer {token}")]
                reload(model_management_pb2.ReloadConfigRequest(), timeout=10, metadata=metadata)
            assert caught.value.code().name == code


def test_paths_that_lead_elsewhere(guarded, models):
    server = guarded[0]
    for name in ("../toy", "..%2F..%2Fetc", "%2e%2e%2ftoy", "toy%2F..%2Fclassic", "....//toy", "%00"):
        for token, status in ((SECRET, 403), ("r", 404)):
            answered, text, _ = ask(server, "GET", f"/v1/models/{name}", token)
            assert answered in (400, status), (name, answered)
            assert str(models) not in text


def test_nothing_of_text_or_token_in_logs(guarded, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    text = "a very private sentence"
    server, log = guarded
    with client_of(server, SECRET) as client:
        client.predict_arrays({"text": np.array([text], object)}, "text")
        with pytest.raises(CallError):
            client.predict_arrays({"nope": np.array([text], object)}, "text")
    ask(server, "POST", "/v1/models/toy:predict", SECRET, json.dumps({"signature_name": "text", "instances": [text]}))
    ask(server, "POST", "/v1/models/toy:predict", SECRET, json.dumps({"signature_name": "text", "instances": [[text]]}))
    ask(server, "POST", "/v1/models/toy:predict", "wrong", text)
    written = log.read_text() + caplog.text + "".join(capfd.readouterr())
    assert '"caller": "ana"' in written
    for private in ("private", SECRET, "wrong"):
        assert private not in written


def test_a_line_for_each_call(guarded):
    server, log = guarded
    log.write_text("")
    with client_of(server, SECRET) as client:
        client.predict_arrays(X)
    ask(server, "POST", "/v1/models/x%0Ay:predict", "r", '{"instances": [1]}')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 2
    assert {name: lines[0][name] for name in ("caller", "method", "model", "version", "status", "rows")} == {
        "caller": "ana",
        "method": "Predict",
        "model": "toy",
        "version": 2,
        "status": "OK",
        "rows": 1,
    }
    assert lines[0]["ms"] > 0 and abs(lines[0]["time"] - time.time()) < 60
    assert (lines[1]["caller"], lines[1]["model"], lines[1]["status"]) == ("root", "x\ny", "NOT_FOUND")


def test_an_audit_log_that_cannot_be_written(models, tmp_path):
    with pytest.raises(ConfigError, match="audit log"):
        serve(models / "classic", port=0, config=ServerConfig(audit_log_file=str(tmp_path / "no" / "folder")))


def test_so_many_a_second(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = RateLimit(2)
    for caller in ("a", "a", "b", "b"):
        limit.take(caller)
    with pytest.raises(Overloaded, match="limit of 2 requests a second"):
        limit.take("a")
    now += 0.5
    limit.take("a")
    with pytest.raises(Overloaded):
        limit.take("a")
    assert make_access(ServerConfig())._limit is None
    with pytest.raises(ConfigError):
        make_access(ServerConfig(rate_limit_per_caller=-1))
    with pytest.raises(ConfigError, match="auth_jwks_file"):
        make_access(ServerConfig(auth_jwt_issuer="us"))


def test_a_caller_over_its_rate(models):
    config = ServerConfig(rate_limit_per_caller=0.001)
    with serve(models / "toy", port=0, rest_api_port=0, config=config) as server:
        assert ask(server, "GET", "/v1/models/toy")[0] == 200
        assert ask(server, "GET", "/v1/models/toy")[0] == 429
        assert ask(server, "GET", "/healthz")[0] == 200
        with client_of(server) as client, pytest.raises(Overloaded):
            client.predict_arrays(X)


def test_wrong_tokens_count_for_the_address_they_come_from(tmp_path):
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[reader]\nsha256 = "{"0" * 64}"\nmodels = ["*"]\n')
    access = make_access(ServerConfig(auth_token_file=str(tokens), rate_limit_per_caller=0.001))

    def ask(caller):
        access.admit(RequestEvent("Predict", "GRPC", caller=caller, metadata={"authorization": "Bearer guess"}))

    with pytest.raises(Unauthenticated):
        ask("10.0.0.1")
    with pytest.raises(Overloaded):
        ask("10.0.0.1")
    with pytest.raises(Unauthenticated):
        ask("10.0.0.2")


def test_observers_see_no_token():
    event = RequestEvent("Predict", "GRPC", metadata={"authorization": "Bearer x", "user-agent": "y"})
    Access().admit(event)
    assert event.metadata == {"user-agent": "y"}


def test_bodies_over_the_limit(models):
    config = ServerConfig(max_request_bytes=100_000)
    with serve(models / "toy", port=0, rest_api_port=0, config=config) as server:
        with client_of(server) as client, pytest.raises(Overloaded, match="larger than max"):
            client.predict_arrays({"x": np.zeros(50_000, np.float32)})
        with socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=10) as raw:  # 1 GB is announced
            raw.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n{")
            assert raw.recv(1000).startswith(b"HTTP/1.1 413 ")

        def chunks():
            yield from [b"x" * 10_000] * 20

        connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=10)
        try:
            connection.request("POST", "/v1/models/toy:predict", chunks(), encode_chunked=True)
            assert connection.getresponse().status == 413
        except ConnectionError:
            pass  # it was refused before all was sent
        assert ask(server, "GET", "/v1/models/toy")[0] == 200
