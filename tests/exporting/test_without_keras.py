"""A SavedModel of each task answers where only TensorFlow and TensorFlow Text are installed, to 16 threads."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from contract import assert_same_results
from kinds import KINDS, make

from tfllm.exporting.forward import choose_forward
from tfllm.exporting.parity import request_inputs
from tfllm.exporting.saved_model import write_saved_model
from tfllm.outputs import results_from_outputs

SCRIPT = Path(__file__).with_name("ask_alone.py")
THREADS = 16


MODELS = {
    **{kind: (kind, "bert") for kind in KINDS},
    **{family: ("one_label", family) for family in ("roberta", "xlm_roberta", "deberta_v3")},
}
"""Name -> kind and family; each family has a tokenizer of its own, and the last one Keras's forward pass."""


def write(kind, family, folder):
    """Write a SavedModel of a task with a request to every signature; return the requests and Keras's answers."""
    model, rows = make(kind, family), KINDS[kind][-1]
    columns = list(zip(*rows, strict=True)) if isinstance(rows[0], tuple) else [rows]
    names = model.input_names(pairs=len(columns) == 2)
    texts = {
        name: np.array([text.encode() for text in column] + [None], object)[:-1]
        for name, column in zip(names, columns, strict=True)
    }
    forward = choose_forward(model, "float32")
    write_saved_model(model, forward, model.signatures(pairs=len(columns) == 2, forward=forward.graph), folder)
    signatures = model.signatures(pairs=len(columns) == 2)
    requests = [(name, request_inputs(model, signature, texts)) for name, signature in signatures.items()]
    np.savez(folder / "requests.npz", requests=np.array([*requests, None], object)[:-1])
    answers = [
        signatures[name].function(**{alias: tf.constant(value) for alias, value in inputs.items()})
        for name, inputs in requests
    ]
    return texts, requests, [{alias: value.numpy() for alias, value in answer.items()} for answer in answers]


def packages_without_keras(folder):
    """Make a folder of all installed packages but Keras, KerasHub and tfllm."""
    folder.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith(("keras", "tf_keras", "tfllm", "__editable__")):
            (folder / package.name).symlink_to(package)
    return folder


@pytest.mark.slow
def test_every_task_and_signature(tmp_path):
    expected = {name: write(*model, tmp_path / name) for name, model in MODELS.items()}
    packages = packages_without_keras(tmp_path / "packages")
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(packages), *(str(tmp_path / name) for name in MODELS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    asked = set()
    for model, (texts, requests, answers) in expected.items():
        (found,) = np.load(tmp_path / model / "answers.npz", allow_pickle=True)["answers"]
        assert found.keys() == {"python_loader", "session_loader"}
        for thread in [thread for threads in found.values() for thread in threads]:
            for (name, inputs), got, want in zip(requests, thread, answers, strict=True):
                assert_equal(name, inputs, got, want, texts)
        assert {len(threads) for threads in found.values()} == {THREADS}
        asked |= {name for name, _ in requests}
    assert asked == {"serving_default", "tokens", "classify", "regress", "query"}


def assert_equal(name, inputs, got, want, texts):
    """Compare the answers of a signature with those of Keras."""
    assert got.keys() == want.keys()
    if name == "serving_default":
        assert_same_results(results_from_outputs(got, texts), results_from_outputs(want, texts), 1e-5)
        return
    for alias, value in want.items():
        if value.dtype == object:
            np.testing.assert_array_equal(got[alias], value)
            continue
        mask = inputs["padding_mask"] != 0 if name == "tokens" else None
        real = mask if mask is not None and value.shape[:2] == mask.shape else slice(None)
        np.testing.assert_allclose(got[alias][real], value[real], atol=1e-5)
