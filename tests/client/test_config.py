"""Settings that check themselves, and encrypted connections with real certificates."""

import dataclasses
import json
import shutil
import subprocess

import grpc
import pytest
from rough_servers import Answers, BlockingTransport, running

from tfllm.client import channels
from tfllm.client.addresses import parse_address
from tfllm.client.config import ConnectionConfig, TlsConfig
from tfllm.client.transport import GrpcTransport
from tfllm.errors import ConfigError, ServerUnavailable

LOCAL = parse_address("localhost:8500")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"max_attempts": 0}, "max_attempts from 1 to 5. Received: max_attempts=0"),
        ({"max_attempts": 6}, "max_attempts=6"),
        ({"initial_backoff": 3}, "initial_backoff from 0.001 to 2"),
        ({"retry_budget": -1}, "retry_budget=-1"),
        ({"keepalive": 60}, "at least 300 s.*keepalive=60"),
        ({"keepalive": float("nan")}, "keepalive=nan"),
        ({"compression": "zip"}, "compression='zip'"),
        ({"max_request_bytes": 0}, "max_request_bytes=0"),
        ({"metadata": {"X-Id": "1"}}, "lower case.*X-Id"),
        ({"metadata": {"grpc-timeout": "1"}}, "gRPC's own"),
        ({"metadata": {"a b": "1"}}, "letters.*a b"),
        ({"metadata": {"trace-bin": "1"}}, "ends in '-bin'.*trace-bin"),
        ({"metadata": {"team": 7}}, "printable ASCII.*Received: a int for 'team'"),
        ({"metadata": {"team": "a\nb"}}, "printable ASCII.*for 'team'"),
        ({"metadata": {"team": "café"}}, "printable ASCII.*for 'team'"),
        ({"keepalive": float("inf")}, "keepalive=inf"),
        ({"keepalive": 1e7}, "keepalive="),
        ({"max_backoff": float("inf")}, "max_backoff=inf"),
    ],
)
def test_settings_that_cannot_be_right(settings, message):
    with pytest.raises(ConfigError, match=message):
        ConnectionConfig(**settings)


def test_settings_are_frozen_and_keep_secrets_out_of_messages():
    config = ConnectionConfig(token="secret", tls=TlsConfig(certificate=b"mine", private_key=b"key"))
    assert "secret" not in repr(config) and "key'" not in repr(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.token = "other"


@pytest.mark.parametrize("token", ["secret\n", " secret", "sécret", "", 7])
def test_tokens_that_no_header_can_hold_are_refused_and_not_shown(token):
    with pytest.raises(ConfigError, match="Expected a token") as caught:
        ConnectionConfig(token=token)
    assert "cret" not in str(caught.value)


def test_metadata_may_be_empty_or_have_spaces_inside():
    ConnectionConfig(metadata={"x-team": "a b", "x-empty": ""}, token="a.b-c_d~e+f/g==")


def test_a_key_is_never_in_a_message():
    begin, key = "-----BEGIN PRIVATE KEY-----\n", "c2VjcmV0\n" * 20
    tls = TlsConfig(certificate="-----BEGIN CERTIFICATE-----\n", private_key=begin + key)
    assert tls.pems() == (None, (begin + key).encode(), b"-----BEGIN CERTIFICATE-----\n")
    for wrong in (key, key.replace("\n", ""), "c2VjcmV0\0"):
        with pytest.raises(ConfigError, match="PEM file, or its text. Received: private_key: a str of") as caught:
            TlsConfig(certificate=b"pem", private_key=wrong).pems()
        assert "c2VjcmV0" not in str(caught.value) and caught.value.__cause__ is None


def test_tls_settings_that_cannot_be_right(tmp_path):
    with pytest.raises(ConfigError, match="certificate without private_key"):
        TlsConfig(certificate=b"pem")
    with pytest.raises(ConfigError, match="private_key without certificate"):
        TlsConfig(private_key=b"pem")
    with pytest.raises(ConfigError, match="No such file"):
        GrpcTransport("localhost:1", ConnectionConfig(tls=TlsConfig(root_certificates=tmp_path / "none.pem")))


def test_a_token_is_not_sent_where_it_can_be_overheard():
    for address in ("models.example.com:8500", "unixbox.example.com:8500", "127.evil.example.com:8500"):
        with pytest.raises(ConfigError, match=f"token without tls for '{address}'"):
            GrpcTransport(address, ConnectionConfig(token="t"))
    GrpcTransport("models.example.com:8500", ConnectionConfig(token="t", tls=TlsConfig())).close()
    GrpcTransport("localhost:8500", ConnectionConfig(token="t")).close()


def test_what_grpc_is_told():
    said = json.loads(channels.service_config(ConnectionConfig(), LOCAL))
    (method,) = said["methodConfig"]
    assert method["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    assert said["loadBalancingConfig"] == [{"pick_first": {}}]
    assert said["retryThrottling"] == {"maxTokens": 40, "tokenRatio": 0.1}
    said = json.loads(channels.service_config(ConnectionConfig(max_attempts=1, retry_budget=0), LOCAL))
    assert "retryPolicy" not in said["methodConfig"][0] and "retryThrottling" not in said
    said = json.loads(channels.service_config(ConnectionConfig(), parse_address("dns:///models:8500")))
    (balancing,) = said["loadBalancingConfig"]
    breaker = balancing["outlier_detection_experimental"]
    assert breaker["childPolicy"] == [{"round_robin": {}}]
    assert breaker["failurePercentageEjection"]["threshold"] == 80
    said = json.loads(channels.service_config(ConnectionConfig(breaker=None), parse_address("a:1,b:1")))
    assert said["loadBalancingConfig"] == [{"round_robin": {}}]
    assert "healthCheckConfig" not in said
    said = json.loads(channels.service_config(ConnectionConfig(health_service="ModelService"), LOCAL))
    assert said["healthCheckConfig"] == {"serviceName": "ModelService"}
    assert "pick_first" not in str(said)


def test_pings_never_trip_a_server_s_limit():
    options = dict(channels.channel_options(ConnectionConfig(), LOCAL))
    assert options["grpc.keepalive_time_ms"] > 300_000
    assert options["grpc.keepalive_permit_without_calls"] == 0
    assert dict(channels.channel_options(ConnectionConfig(keepalive=1e6), LOCAL))["grpc.keepalive_time_ms"] < 2**31
    assert "grpc.keepalive_time_ms" not in dict(channels.channel_options(ConnectionConfig(keepalive=None), LOCAL))


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """Return a folder with a root, and the certificates of a server and a client that it signed."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("pems")

    def openssl(*command):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=root")
    for name in ("server", "client"):
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "names").write_text("subjectAltName=DNS:models.test,IP:127.0.0.1")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return folder


def server_credentials(pems, ask_client):
    pair = ((pems / "server.key").read_bytes(), (pems / "server.pem").read_bytes())
    return grpc.ssl_server_credentials([pair], (pems / "ca.pem").read_bytes() if ask_client else None, ask_client)


@pytest.fixture(params=[GrpcTransport, BlockingTransport], ids=["sync", "async"])
def ask(request):
    """Return a function that asks an address once."""

    def asked(address, **tls):
        transport = request.param(address, ConnectionConfig(tls=TlsConfig(**tls), token="t", max_attempts=1))
        try:
            return transport.call("/Echo/", b"x", 10)
        finally:
            transport.close()

    return asked


def test_tls(pems, ask):
    with running(Answers(), credentials=server_credentials(pems, False)) as address:
        assert ask(address, root_certificates=pems / "ca.pem") == b"x"
        assert ask(address, root_certificates=(pems / "ca.pem").read_bytes(), server_name="models.test") == b"x"
        assert ask(address, root_certificates=(pems / "ca.pem").read_text()) == b"x"
        with pytest.raises(ServerUnavailable):
            ask(address)  # the system's roots did not sign it
        with pytest.raises(ServerUnavailable):
            ask(address, root_certificates=pems / "ca.pem", server_name="other.test")


def test_mtls(pems, ask):
    own = {"certificate": pems / "client.pem", "private_key": str(pems / "client.key")}
    with running(Answers(), credentials=server_credentials(pems, True)) as address:
        assert ask(address, root_certificates=pems / "ca.pem", **own) == b"x"
        with pytest.raises(ServerUnavailable):
            ask(address, root_certificates=pems / "ca.pem")


def test_tls_with_several_servers(pems, ask):
    credentials = server_credentials(pems, False)
    with running(Answers(), credentials=credentials) as first, running(Answers(), credentials=credentials) as second:
        assert ask([first, second], root_certificates=pems / "ca.pem") == b"x"
