"""A SavedModel of each task answers where only TensorFlow and TensorFlow Text are installed, to 16 threads."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from contract import assert_same_results
from kinds import KINDS, make

from tfllm.exporting.forward import choose_forward
from tfllm.exporting.parity import request_inputs
from tfllm.exporting.saved_model import write_saved_model
from tfllm.outputs import results_from_outputs

SCRIPT = Path(__file__).with_name("ask_alone.py")
THREADS = 16


def write(kind, folder):
    """Write a SavedModel of a task with the requests of every signature; return the task's own answers to texts."""
    model, rows = make(kind, "bert"), KINDS[kind][-1]
    columns = list(zip(*rows, strict=True)) if isinstance(rows[0], tuple) else [rows]
    pairs = len(columns) == 2
    names = model.input_names(pairs=pairs)
    texts = {
        name: np.array([text.encode() for text in column] + [None], object)[:-1]
        for name, column in zip(names, columns, strict=True)
    }
    forward = choose_forward(model, "float32")
    signatures = model.signatures(pairs=pairs, forward=forward.graph)
    write_saved_model(model, forward, signatures, folder)
    requests = [(name, request_inputs(model, signature, texts)) for name, signature in signatures.items()]
    np.savez(folder / "requests.npz", requests=np.array([*requests, None], object)[:-1])
    return texts, [name for name, _ in requests], model.predict_text(rows)


def packages_without_keras(folder):
    """Make a folder of all installed packages but Keras, KerasHub and tfllm."""
    folder.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith(("keras", "tf_keras", "tfllm", "__editable__")):
            (folder / package.name).symlink_to(package)
    return folder


@pytest.mark.slow
def test_every_task_and_signature(tmp_path):
    expected = {kind: write(kind, tmp_path / kind) for kind in KINDS}
    packages = packages_without_keras(tmp_path / "packages")
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(packages), *(str(tmp_path / kind) for kind in KINDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind, (texts, names, results) in expected.items():
        (answers,) = np.load(tmp_path / kind / "answers.npz", allow_pickle=True)["answers"]
        assert answers.keys() == {"python_loader", "session_loader"}
        for threads in answers.values():
            assert len(threads) == THREADS
            for found in threads:
                by_name = dict(zip(names, found, strict=True))
                assert_same_results(results_from_outputs(by_name["serving_default"], texts), results, 1e-5)
                for name, outputs in by_name.items():
                    first = dict(zip(names, threads[0], strict=True))[name]
                    assert outputs.keys() == first.keys()
                    for alias, value in outputs.items():
                        if value.dtype == object:
                            np.testing.assert_array_equal(value, first[alias])
                        else:
                            np.testing.assert_allclose(value, first[alias], atol=1e-6)
