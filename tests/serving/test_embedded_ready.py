"""The health check of the embedded image against real servers, with TLS and without."""

import os
import socket
import subprocess
import sys

import pytest
import trustme

from tfllm.server.config import ServerConfig
from tfllm.server.server import Server, serve


@pytest.fixture
def check(serving):
    def run(port):
        done = subprocess.run(
            [sys.executable, serving / "embedded_ready.py"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"PATH": os.environ["PATH"], "REST_PORT": str(port)},
        )
        return done.returncode, done.stderr

    return run


@pytest.fixture
def tls(tmp_path):
    """Return the settings of a server with a certificate."""
    authority = trustme.CA()
    issued = authority.issue_cert("models.example.com")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return {"tls_key_file": str(tmp_path / "key.pem"), "tls_certificate_file": str(tmp_path / "certificate.pem")}


def test_a_server_that_is_ready(check, toy_server):
    assert check(toy_server.rest_api_port) == (0, "")


def test_a_server_with_a_certificate(check, toy_models, tls):
    with serve(toy_models, port=0, rest_api_port=0, config=ServerConfig(**tls)) as server:
        assert check(server.rest_api_port) == (0, "")


def test_where_clients_need_certificates_it_cannot_ask_and_says_so(check, toy_models, tls, tmp_path):
    config = ServerConfig(**tls, tls_client_ca_file=str(tmp_path / "ca.pem"))
    with serve(toy_models, port=0, rest_api_port=0, config=config) as server:
        code, reason = check(server.rest_api_port)
    assert code == 1 and reason.startswith("/readyz cannot be asked: ")


def test_a_server_that_loads_its_models_yet(check, tls):
    for settings in ({}, tls):
        with Server(host="127.0.0.1", port=0, rest_api_port=0, config=ServerConfig(**settings)) as server:
            assert check(server.rest_api_port) == (1, "/readyz says 503\n")


def test_no_server(check):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code, reason = check(port)
    assert code == 1 and "ConnectionRefusedError" in reason
