import json

import numpy as np
import pytest

from tfllm import repository
from tfllm.errors import ExportError, ParityError
from tfllm.exporting.verify import read_contract, verify, verify_answers

CONTRACT = {
    "input_names": ["text"],
    "parity": {"tolerance": 1e-4},
    "golden": [{"request": ["fine"], "answer": {"label": "good", "scores": [0.25, 0.75]}}],
}


@pytest.fixture
def version(tmp_path):
    file = tmp_path / repository.CONTRACT_FILE
    file.parent.mkdir()
    file.write_text(json.dumps(CONTRACT))
    return tmp_path


def answers(label=b"good", scores=(0.25, 0.75)):
    return {"label": np.array([label], object), "scores": np.array([scores], "float32")}


def test_the_same_answers(version):
    asked = []
    assert verify_answers(version, lambda inputs: asked.append(inputs) or answers(), "a server") == 0.0
    np.testing.assert_array_equal(asked[0]["text"], np.array([b"fine"], object))


@pytest.mark.parametrize(
    "other", [answers(label=b"bad"), answers(scores=(0.25, 0.76)), answers(scores=(0.2, 0.3, 0.5)), {}]
)
def test_other_answers(version, other):
    with pytest.raises(ParityError, match="Received from a server"):
        verify_answers(version, lambda inputs: other, "a server")


def test_no_contract(tmp_path):
    with pytest.raises(ExportError, match="Expected the contract"):
        read_contract(tmp_path)


@pytest.mark.slow
def test_an_exported_version_is_proved_again(tmp_path, micro_model):
    from tfllm.exporting.saved_model import export

    version = export(micro_model, tmp_path / "m", samples=["good film"])
    assert max(verify(version.path).values()) <= 1e-6
    file = version.path / repository.CONTRACT_FILE
    contract = json.loads(file.read_text())
    contract["golden"][0]["answer"]["scores"][0] += 0.01
    file.write_text(json.dumps(contract))
    with pytest.raises(ParityError, match="saved_model loader"):
        verify(version.path)
