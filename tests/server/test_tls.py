"""TLS and mTLS over gRPC and REST, by both kinds of settings, and certificates that change while the server runs."""

import http.client
import json
import socket
import ssl

import numpy as np
import pytest
from certificates import Authority

from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig, TlsConfig
from tfllm.errors import ConfigError, ServerUnavailable, Timeout
from tfllm.server.config import ServerConfig
from tfllm.server.server import serve
from tfllm.server.tls import make_tls

X = {"x": np.float32([2])}


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def serve_tls(models, authority, *, client_ca="", expired=False):
    key, certificate = authority.files(expired=expired)
    config = ServerConfig(tls_certificate_file=certificate, tls_key_file=key, tls_client_ca_file=client_ca)
    return serve(models / "toy", port=0, rest_api_port=0, config=config)


def grpc_client(server, authority, pair=None, root=None):
    key, certificate = pair or (None, None)
    tls = TlsConfig(root_certificates=root or authority.root, private_key=key, certificate=certificate)
    connection = ConnectionConfig(tls=tls, max_attempts=1)
    return Client(f"localhost:{server.port}", model="toy", connection=connection, timeout=5)


def ask_rest(server, authority, pair=None):
    context = ssl.create_default_context(cadata=authority.root.decode())
    if pair is not None:
        context.load_cert_chain(*reversed(pair))
    connection = http.client.HTTPSConnection("localhost", server.rest_api_port, timeout=10, context=context)
    try:
        connection.request("POST", "/v1/models/toy:predict", json.dumps({"instances": [2]}))
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def test_both_ports_are_encrypted(models, authority):
    with serve_tls(models, authority) as server:
        with grpc_client(server, authority) as client:
            assert client.predict_arrays(X)["y"].tolist() == [101]
        assert ask_rest(server, authority) == {"predictions": [101.0]}


def test_plain_text_is_refused(models, authority):
    with serve_tls(models, authority) as server:
        with Client(server.address, model="toy", connection=ConnectionConfig(max_attempts=1), timeout=5) as client:
            with pytest.raises((ServerUnavailable, Timeout)):
                client.predict_arrays(X)
        with socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=10) as raw:
            raw.sendall(b"GET /v1/models/toy HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                answer = raw.recv(1000)
            except ConnectionResetError:
                answer = b""
            assert b"model_version_status" not in answer
        with grpc_client(server, authority) as client:
            assert client.predict_arrays(X)["y"].tolist() == [101]


def test_a_client_needs_a_certificate_where_that_is_asked(models, authority, tmp_path):
    with serve_tls(models, authority, client_ca=authority.root_file) as server:
        pair = authority.files("somebody")
        pems = authority.issue("somebody")
        with grpc_client(server, authority, pems) as client:
            assert client.predict_arrays(X)["y"].tolist() == [101]
        assert ask_rest(server, authority, pair) == {"predictions": [101.0]}
        (tmp_path / "other").mkdir()
        stranger = Authority(tmp_path / "other")
        for refused in (None, authority.issue("somebody", expired=True), stranger.issue("somebody")):
            with grpc_client(server, authority, refused) as client, pytest.raises((ServerUnavailable, Timeout)):
                client.predict_arrays(X)
        for refused in (None, authority.files("somebody", expired=True), stranger.files("somebody")):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
                ask_rest(server, authority, refused)


def test_an_expired_certificate_of_the_server_is_refused_by_clients(models, authority):
    with serve_tls(models, authority, expired=True) as server:
        with grpc_client(server, authority) as client, pytest.raises((ServerUnavailable, Timeout)):
            client.predict_arrays(X)
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            ask_rest(server, authority)


def text_proto(authority, **more):
    key, certificate = authority.issue()
    fields = {"server_key": key.decode(), "server_cert": certificate.decode(), **more}
    return "\n".join(f"{name}: {json.dumps(value)}" for name, value in fields.items())


def test_the_file_of_tensorflow_serving(models, authority, tmp_path):
    file = tmp_path / "ssl.config"
    file.write_text(text_proto(authority, custom_ca=authority.root.decode(), client_verify=True))
    with serve(models / "toy", port=0, rest_api_port=0, config=ServerConfig(ssl_config_file=str(file))) as server:
        with grpc_client(server, authority, authority.issue("somebody")) as client:
            assert client.predict_arrays(X)["y"].tolist() == [101]
        with grpc_client(server, authority) as client, pytest.raises((ServerUnavailable, Timeout)):
            client.predict_arrays(X)


def test_certificates_change_while_the_server_runs(models, authority, tmp_path, caplog):
    file = tmp_path / "ssl.config"
    file.write_text(text_proto(authority))
    with serve(models / "toy", port=0, rest_api_port=0, config=ServerConfig(ssl_config_file=str(file))) as server:
        assert ask_rest(server, authority) == {"predictions": [101.0]}
        (tmp_path / "new").mkdir()
        newer = Authority(tmp_path / "new")
        file.write_text(text_proto(newer))
        assert ask_rest(server, newer) == {"predictions": [101.0]}
        with grpc_client(server, newer) as client:
            assert client.predict_arrays(X)["y"].tolist() == [101]
        with pytest.raises(ssl.SSLCertVerificationError):
            ask_rest(server, authority)
        with grpc_client(server, authority) as client, pytest.raises((ServerUnavailable, Timeout)):
            client.predict_arrays(X)
        file.write_text("server_key: 'broken'")
        assert ask_rest(server, newer) == {"predictions": [101.0]}
        assert "The certificates stay as they were" in caplog.text


def test_settings_that_cannot_be_right(authority, tmp_path):
    key, certificate = authority.files()
    other, _ = authority.files()
    assert make_tls(ServerConfig()) is None
    with pytest.raises(ConfigError, match="Received: both"):
        make_tls(ServerConfig(ssl_config_file="x", tls_key_file=key))
    with pytest.raises(ConfigError, match="together"):
        make_tls(ServerConfig(tls_key_file=key))
    with pytest.raises(ConfigError, match="Expected a PEM file"):
        make_tls(ServerConfig(tls_key_file=str(tmp_path / "none"), tls_certificate_file=certificate))
    with pytest.raises(ConfigError, match="Expected a certificate, its private key"):
        make_tls(ServerConfig(tls_key_file=other, tls_certificate_file=certificate))


def test_listening_on_the_network_without_tls_is_told_in_one_line(models, authority, caplog):
    with serve(models / "classic", port=0):
        assert "without TLS" not in caplog.text
    with serve(models / "classic", port=0, host="0.0.0.0"):
        lines = [line for line in caplog.messages if "without TLS" in line]
    assert lines == ["Listening on 0.0.0.0 without TLS: what is sent can be read and changed on the way."]
