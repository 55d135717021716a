"""The base install, as a client machine has it: no TensorFlow, little memory, and a call that works."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tfllm.exporting.saved_model import export
from tfllm.server.server import serve

ROOT = Path(__file__).parents[2]

MEASURE = """
import json, os, sys, time
start = time.perf_counter()
import tfllm
Client = tfllm.Client
seconds = time.perf_counter() - start
memory = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
with Client(sys.argv[1], model="reviews", timeout=60.0) as client:
    answers = client.predict(["good film", "bad food"])
    version = client.status()[0].version
heavy = sorted({"tensorflow", "keras", "pandas"} & sys.modules.keys())
print(json.dumps({"seconds": seconds, "megabytes": memory, "heavy": heavy, "version": version,
                  "labels": [answer.label for answer in answers]}))
"""


@pytest.fixture(scope="module")
def base_python(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", ROOT], check=True)
    return python


@pytest.mark.slow
def test_the_client_needs_no_tensorflow(base_python, tmp_path, micro_model):
    export(micro_model, tmp_path / "reviews")
    expected = [result.label for result in micro_model.predict_text(["good film", "bad food"])]
    with serve(tmp_path, port=0) as server:
        done = subprocess.run([base_python, "-c", MEASURE, server.address], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print(f"import {found['seconds']:.2f} s, {found['megabytes']:.0f} MB resident")
    assert found["heavy"] == [] and found["labels"] == expected and found["version"] == 1
    assert found["megabytes"] < 60
    assert subprocess.run([base_python, "-c", "import tensorflow"], capture_output=True, check=False).returncode == 1


OWN_TESTS = "addresses breaker bulk calls client client_errors metadata mock text_calls transport".split()


@pytest.mark.slow
def test_the_client_s_own_tests_pass_in_the_base_install(base_python, server, tmp_path):
    """The server runs here, with TensorFlow; pytest and pandas, which the tests need, stand beside the base install."""
    tools = tmp_path / "tools"
    pip = [base_python, "-m", "pip", "install", "--quiet", "--target", tools, "pytest", "pandas"]
    subprocess.run(pip, check=True)
    folder = Path(__file__).parent
    settings = f"[pytest]\naddopts = --import-mode=importlib\npythonpath = {folder}\nmarkers = slow\n"
    (tmp_path / "pytest.ini").write_text(settings)
    environment = {**os.environ, "PYTHONPATH": str(tools), "TFLLM_TEST_SERVER": server.address}
    options = ["-q", "-c", tmp_path / "pytest.ini", f"--confcutdir={folder}", "-p", "no:cacheprovider"]
    files = [folder / f"test_{name}.py" for name in OWN_TESTS]
    done = subprocess.run(
        [base_python, "-m", "pytest", *options, *files],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    print(done.stdout[-300:])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert " passed" in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_the_base_install_is_small(base_python):
    """Without pip, which a virtual environment brings along."""
    packages = next((base_python.parents[1] / "lib").glob("python3*")) / "site-packages"
    own = [entry for entry in packages.iterdir() if not entry.name.startswith(("pip", "setuptools", "_distutils"))]
    files = [file for entry in own for file in ([entry] if entry.is_file() else entry.rglob("*")) if file.is_file()]
    megabytes = sum(file.stat().st_size for file in files if "__pycache__" not in file.parts) / 1e6
    print(f"{megabytes:.0f} MB on disk")
    assert megabytes < 90
    assert not {"tensorflow", "keras", "pandas", "pyarrow", "httpx"} & {entry.name for entry in own}


@pytest.mark.slow
@pytest.mark.parametrize("name, extra", [("TextClassifier", "train"), ("load_dataset", "train"), ("serve", "server")])
def test_what_is_not_installed_is_named(base_python, name, extra):
    done = subprocess.run(
        [base_python, "-c", f"import tfllm; tfllm.{name}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"pip install 'tfllm[{extra}]'" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_command_line_of_the_base_install(base_python):
    tfllm = [base_python, "-m", "tfllm"]
    done = subprocess.run([*tfllm, "doctor"], capture_output=True, text=True, check=True)
    assert "not installed" in done.stdout and "pip install 'tfllm[" in done.stderr
    done = subprocess.run([*tfllm, "train", "x.csv", "--run-dir", "r"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("tfllm: ") and "tfllm[train]" in done.stderr


def test_the_client_works_where_tensorflow_is_loaded():
    code = "import tensorflow, tfllm; from tensorflow_serving.apis import predict_pb2; tfllm.Client"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
