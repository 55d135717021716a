import functools
import json

import numpy as np
import pytest
from kinds import KINDS, make

from tfllm import repository
from tfllm.errors import ExportError, ParityError
from tfllm.exporting.operators import listed_operators, listed_versions
from tfllm.exporting.preflight import preflight
from tfllm.exporting.verify import golden_signatures, read_contract, verify, verify_answers

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
    assert verify_answers(version, lambda inputs, signature: asked.append(inputs) or answers(), "a server") == 0.0
    np.testing.assert_array_equal(asked[0]["text"], np.array([b"fine"], object))


@pytest.mark.parametrize(
    "other", [answers(label=b"bad"), answers(scores=(0.25, 0.76)), answers(scores=(0.2, 0.3, 0.5)), {}]
)
def test_other_answers(version, other):
    with pytest.raises(ParityError, match="Received from a server"):
        verify_answers(version, lambda inputs, signature: other, "a server")


def write(folder, **changes):
    (folder / repository.CONTRACT_FILE).write_text(json.dumps({**CONTRACT, **changes}))


def test_a_batch_is_asked_too_and_its_empty_places_count_for_nothing(version):
    answer = {"token": [["fine", "good"]], "score": [[0.5, 0.25]]}
    nothing = {"token": [], "score": []}
    write(version, golden=[{"request": ["a [MASK]"], "answer": answer}, {"request": ["no mask"], "answer": nothing}])

    def served(inputs, signature):
        masks = [text.count(b"[MASK]") for text in inputs["text"]]
        tokens = np.array([[[b"fine", b"good"]] * n + [[b"", b""]] * (max(masks) - n) for n in masks], object)
        scores = np.array([[[0.5, 0.25]] * n + [[0, 0]] * (max(masks) - n) for n in masks], "float32")
        shape = (len(masks), max(masks), 2)
        return {"token": tokens.reshape(shape), "score": scores.reshape(shape)}

    assert verify_answers(version, served, "a server") == 0.0
    alone = {"token": np.zeros((1, 0, 2), object), "score": np.zeros((1, 0, 2), "float32")}
    with pytest.raises(ParityError, match=r"'a \[MASK\]'"):
        verify_answers(version, lambda inputs, signature: alone, "a server")


def test_a_row_that_its_neighbours_change(version):
    write(version, golden=[{"request": [name], "answer": {"scores": [0.5, 0.5]}} for name in ("a", "b")])

    def served(inputs, signature):
        rows = len(inputs["text"])
        return {"scores": np.full((rows, 2), 0.5 / rows)}

    with pytest.raises(ParityError, match="in a batch of 2"):
        verify_answers(version, served, "a server")


def test_numbers_of_a_wide_range_are_compared_as_shares_of_it(version):
    golden = [{"request": ["a house"], "answer": {"value": 250_000.0}}]
    write(version, golden=golden, parity={"tolerance": 1e-4, "scale": 500_000.0})
    assert verify_answers(
        version, lambda inputs, signature: {"value": np.float32([250_000.5])}, "a server"
    ) == pytest.approx(1e-6)
    with pytest.raises(ParityError):
        verify_answers(version, lambda inputs, signature: {"value": np.float32([250_100.0])}, "a server")


def test_other_signatures_are_asked_as_the_contract_says(version):
    write(
        version,
        signatures={"tokens": {"inputs": {"token_ids": {"dtype": "int32"}, "raw": {"dtype": "string"}}}},
        golden_signatures=[
            {
                "signature": "tokens",
                "request": {"token_ids": [[1, 2]], "raw": [{"b64": "/wA="}]},
                "answer": {"logits": [[0.5, 0.25]]},
            }
        ],
    )
    asked = {}

    def served(logit, inputs, signature):
        asked[signature] = inputs
        return answers() if signature == "serving_default" else {"logits": np.float32([[0.5, logit]])}

    assert verify_answers(version, functools.partial(served, 0.25), "a server") == 0.0
    assert asked.keys() == {"serving_default", "tokens"}
    assert asked["tokens"]["token_ids"].dtype == np.int32 and asked["tokens"]["token_ids"].tolist() == [[1, 2]]
    assert asked["tokens"]["raw"].tolist() == [b"\xff\x00"]
    with pytest.raises(ParityError, match="of signature 'tokens', within 0.0001. Received from a server"):
        verify_answers(version, functools.partial(served, 0.26), "a server")


def test_large_logits_are_compared_by_their_size(version):
    golden = {"signature": "tokens", "request": {}, "answer": {"logits": [[8.0, -2.0]]}}
    write(version, signatures={"tokens": {"inputs": {}}}, golden_signatures=[golden])

    def served(logit, inputs, signature):
        return answers() if signature == "serving_default" else {"logits": np.float32([[logit, -2.0]])}

    assert verify_answers(version, functools.partial(served, 8.0004), "a server") == pytest.approx(5e-5, rel=0.01)
    with pytest.raises(ParityError):
        verify_answers(version, functools.partial(served, 8.001), "a server")


def test_long_answers_are_not_kept():
    requests = [("tokens", {"token_ids": np.int32([[1]])}), ("classify", {"inputs": np.array([b"x"], object)})]
    found = golden_signatures(requests, [{"logits": np.zeros((1, 30_000))}, {"scores": np.float32([[0.5]])}])
    assert found == [{"signature": "classify", "request": {"inputs": [{"b64": "eA=="}]}, "answer": {"scores": [[0.5]]}}]


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
    contract["golden"][0]["answer"]["scores"][0] -= 0.01
    assert [golden["signature"] for golden in contract["golden_signatures"]] == ["tokens", "classify"]
    contract["golden_signatures"][0]["answer"]["logits"][0][0] += 0.01
    file.write_text(json.dumps(contract))
    with pytest.raises(ParityError, match="of signature 'tokens'"):
        verify(version.path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_decision_is_proved_in_its_shortest_precision_and_again_later(tmp_path, kind):
    from tfllm.exporting.saved_model import export

    _, _, rows = KINDS[kind]
    precision, tolerance = ("float32", 1e-4) if kind == "masks" else ("bfloat16", 1e-2)
    version = export(make(kind, "bert"), tmp_path / "m", samples=rows, precision=precision, warm_up=False)
    report = read_contract(version.path)["parity"]
    assert report["tolerance"] == tolerance and max(report["largest_difference"].values()) <= tolerance
    assert max(verify(version.path).values()) <= tolerance
    for server in listed_versions():
        preflight(version.path, operators=listed_operators(server))
