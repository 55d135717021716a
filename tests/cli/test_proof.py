"""`tfllm verify` as a user calls it: of files, of a running server, and of a server that serves something else."""

import json
import shutil

import keras
import pytest
from click.testing import CliRunner

import tfllm
from tfllm.cli import cli
from tfllm.errors import ParityError, TfllmError
from tfllm.exporting.saved_model import export
from tfllm.server.server import serve

pytestmark = pytest.mark.slow
SAMPLES = ["a good film", "bad food and bad service"]


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = tfllm.TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
    return export(model, tmp_path_factory.mktemp("models") / "reviews", samples=SAMPLES)


def verify(*arguments):
    result = CliRunner().invoke(cli, ["verify", *map(str, arguments), "--json"])
    if result.exception:
        raise result.exception
    return json.loads(result.stdout)


def test_files(version):
    found = verify(version.path)
    assert found.keys() == {"saved_model", "session"} and max(found.values()) < 1e-5
    assert verify(version.path.parent) == pytest.approx(found, abs=1e-5)  # a model's folder means its newest version


def test_a_running_server(version):
    with serve(version.path.parents[1], port=0) as server:
        found = verify(version.path, "--server", server.address)
        assert found.keys() == {server.address} and found[server.address] < 1e-5
        with pytest.raises(TfllmError, match="nobody"):
            verify(version.path, "--server", server.address, "--model", "nobody")


def test_a_server_that_serves_other_weights(version, tmp_path):
    keras.utils.set_random_seed(1)
    other = tfllm.TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
    export(other, tmp_path / "reviews", samples=SAMPLES)
    with serve(tmp_path, port=0) as server, pytest.raises(ParityError, match=f"Received from {server.address}"):
        verify(version.path, "--server", server.address)


def test_changed_files(version, tmp_path):
    copy = shutil.copytree(version.path, tmp_path / "reviews" / "1")
    contract = copy / "assets.extra" / "tfllm.json"
    said = json.loads(contract.read_text("utf-8"))
    said["golden_signatures"][0]["answer"] = {"logits": [[9.0, -9.0]]}
    contract.write_text(json.dumps(said), "utf-8")
    with pytest.raises(ParityError, match="of signature 'tokens'"):
        verify(copy)
