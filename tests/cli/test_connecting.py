"""Verbs against a server as in production: TLS, a token, labels, and signatures of their own."""

import hashlib
import json

import echo_models
import numpy as np
import pytest
from certificates import Authority
from click.testing import CliRunner

from tfllm.cli import asking, bench, cli, connecting, proof
from tfllm.client.client import Client
from tfllm.client.config import ConnectionConfig, TlsConfig
from tfllm.client.inference import ServedModel
from tfllm.errors import ConfigError, Unauthenticated
from tfllm.server.config import ServerConfig
from tfllm.server.server import serve

TOKEN = "one-token"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Return a server with TLS and tokens, and the options that a verb needs for it."""
    folder = tmp_path_factory.mktemp("production")
    echo_models.write_all(folder / "models")
    authority = Authority(folder)
    key, certificate = authority.files()
    tokens, token = folder / "tokens.toml", folder / "token"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens.write_text(f'[me]\nsha256 = "{digest}"\nmodels = ["*"]\nadmin = true\n')
    token.write_text(f"{TOKEN}\n")
    config = ServerConfig(tls_certificate_file=certificate, tls_key_file=key, auth_token_file=str(tokens))
    with serve(folder / "models", port=0, version_policy="all", config=config) as server:
        address = f"localhost:{server.port}"
        connection = ConnectionConfig(tls=TlsConfig(root_certificates=authority.root), token=TOKEN)
        with Client(address, model="echo", timeout=60, connection=connection) as client:
            labelled = ServedModel("echo", str(folder / "models" / "echo"), versions="all", labels={"stable": 1})
            client.reload_config([labelled])
        yield address, ("--tls-ca", authority.root_file, "--token-file", str(token))


def run(verb, *arguments):
    return CliRunner().invoke(verb, list(map(str, arguments)))


def test_a_text(known):
    address, options = known
    ask = ("--server", address, "--name", "echo", "--timeout", 60, "--json")
    found = json.loads(run(asking.predict, *ask, *options, "--label", "stable", "abc").stdout)
    assert found[0]["label"] == "abc"
    pair = run(asking.predict, *ask, *options, "--signature", "pairs", "a", "--text-pair", "b")
    assert json.loads(pair.stdout)[0]["label"] == "a|b"
    assert isinstance(run(asking.predict, *ask, *options[:2], "abc").exception, Unauthenticated)
    with_both = run(asking.predict, *ask, *options, "--label", "stable", "--version", 1, "abc")
    assert "a version or a label, not both" in str(with_both.exception)


def test_a_file_is_scored_with_the_version_of_a_label(known, tmp_path):
    address, options = known
    (tmp_path / "in.csv").write_text("text\nab\nc\n")
    ask = ("--server", address, "--name", "echo", "--timeout", 60, "--label", "stable", *options)
    done = run(asking.predict, tmp_path / "in.csv", "--out", tmp_path / "out.csv", *ask)
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "out.csv").read_text().splitlines() == ["text,label,score", "ab,ab,2.0", "c,c,1.0"]


def test_a_load(known):
    address, options = known
    load = ("--concurrency", 1, "--duration", 0.5, "--warmup", 0, "--timeout", 60, "--json")
    done = run(bench.bench, address, "--model", "echo", "--label", "stable", *load, *options)
    assert done.exit_code == 0, done.exception
    [found] = json.loads(done.stdout)
    assert found["requests"] > 0 and found["errors"] == 0


def test_golden_requests(known, tmp_path, monkeypatch):
    address, options = known
    pytest.importorskip("tensorflow")
    from tfllm.exporting import verify

    def verify_answers(folder, predict, who):
        return float(predict({"text": np.array(["abc"], object)}, "serving_default")["score"][0])

    monkeypatch.setattr(proof, "import_tensorflow", lambda extra: None)
    monkeypatch.setattr(verify, "verify_answers", verify_answers)
    (tmp_path / "echo" / "4").mkdir(parents=True)
    done = run(proof.verify, tmp_path / "echo" / "4", "--server", address, "--json", *options)
    assert json.loads(done.stdout) == {address: 3.0}


def options_of(**given):
    none = {"tls": False, "tls_ca": None, "tls_cert": None, "tls_key": None, "token_file": None, "metadata": ()}
    return {**none, **given, "other": 1}


def test_options_become_a_connection(tmp_path):
    options = options_of(tls=True, metadata=("x-team=search", "x-more=a=b"))
    found = connecting.connection(options, max_attempts=1)
    assert found == ConnectionConfig(
        tls=TlsConfig(), metadata={"x-team": "search", "x-more": "a=b"}, max_attempts=1
    ) and options == {"other": 1}
    assert connecting.connection(options_of()) == ConnectionConfig()


def test_a_token_is_read_anew(tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    token = connecting.connection(options_of(token_file=str(file))).token
    assert token() == "first"
    file.write_text("second\n")
    assert token() == "second"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"token_file": "/nowhere/token"}, "a file with a token. Received: '/nowhere/token' .*No such file"),
        ({"token_file": "empty"}, "Received: 'empty', which is empty"),
        ({"tls_ca": "/nowhere/ca.pem"}, "PEM.*Received: .*/nowhere/ca.pem"),
        ({"tls_cert": "empty"}, "certificate without private_key"),
        ({"metadata": ("x-team",)}, "Expected --metadata key=value. Received: --metadata x-team"),
    ],
)
def test_options_that_cannot_be_right(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match=message):
        connecting.connection(options_of(**given))


@pytest.mark.parametrize("verb", ["predict", "bench", "verify"])
def test_every_verb_has_them(verb):
    shown = run(cli, verb, "--help").stdout
    assert all(option in shown for option in ("--tls-ca", "--tls-cert", "--tls-key", "--token-file", "--metadata"))
    assert verb == "verify" or ("--label" in shown and "--signature" in shown)
