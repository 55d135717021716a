"""The fixtures that tfllm gives to others, used as others do: in a process of their own."""

import os
import subprocess
import sys

import pytest

MODEL = """
import sys, tensorflow as tf
module = tf.Module()
module.call = tf.function(lambda x: {"y": x + 1}, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
tf.saved_model.save(module, "models/adder/1", signatures=module.call)
"""

TESTS = """
import numpy as np
import tfllm

def test_it_answers(serve_folder):
    with tfllm.Client(serve_folder("models"), model="adder") as client:
        assert client.predict_arrays({"x": np.float32([1])})["y"].tolist() == [2]
    assert serve_folder("models") == serve_folder("models")
"""


@pytest.mark.slow
def test_a_folder_is_served_to_the_tests_of_others(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tfllm.testing"]\n')
    (tmp_path / "test_it.py").write_text(TESTS)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    for command in (["-c", MODEL], ["-m", "pytest", "-q", "-p", "no:cacheprovider"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
