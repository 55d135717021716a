"""Clients of other makers and languages against the embedded server; each in an environment of its own."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import serving_models
from rough_servers import free_port

from tfllm.server.server import serve

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

MIN_TFS = """
import sys
import numpy as np
from min_tfs_client.requests import TensorServingClient
from min_tfs_client.tensors import tensor_proto_to_ndarray
host, port = sys.argv[1].split(":")
client = TensorServingClient(host=host, port=int(port))
answer = client.predict_request("toy", {"x": np.float32([2, 4])}, model_version=2)
print(tensor_proto_to_ndarray(answer.outputs["y"]).tolist())
"""

STUBS = """
import sys
import grpc
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
request = predict_pb2.PredictRequest()
request.model_spec.name = "toy"
shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=2)])
tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=shape, float_val=[2, 4])
request.inputs["x"].CopyFrom(tensor)
stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(sys.argv[1]))
print(list(stub.Predict(request, 10).outputs["y"].float_val))
"""


@pytest.fixture(scope="module")
def toys(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    serving_models.write_all(folder)
    (folder / "echo").symlink_to(models / "echo")
    with serve(folder, port=0, rest_api_port=free_port()) as server:
        yield server


@pytest.mark.parametrize(
    ("package", "further", "script"),
    [
        ("min-tfs-client==1.0.2", ["numpy<2"], MIN_TFS),
        ("tensorflow-serving-client-grpc==2.3.0", [], STUBS),
    ],
)
def test_clients_from_pypi(toys, tmp_path, package, further, script):
    """They are of 2020, so protobuf is the one that their messages were made for."""
    venv.create(tmp_path / "v", with_pip=True)
    python = tmp_path / "v" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", package, "protobuf==3.20.3", "setuptools<80", *further]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{package} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", script, toys.address], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [101.0, 102.0]


def test_node(toys, tmp_path):
    """The example, with grpc-js and the messages that the package carries."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    install = ["npm", "install", "--silent", "@grpc/grpc-js", "@grpc/proto-loader"]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"grpc-js cannot be installed: {done.stderr[-200:]}")
    shutil.copy(ROOT / "examples" / "client.js", tmp_path)
    environment = {**os.environ, "PROTOS": str(ROOT / "tfllm" / "wire")}
    command = ["node", "client.js", toys.address, "echo", "text", "abc", "é"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["abc 3.0000", "é 2.0000"]
    command[3] = "nothing"
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1 and "5: Servable not found" in done.stderr


def test_curl(toys):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    url = f"http://127.0.0.1:{toys.rest_api_port}/v1/models/echo:predict"
    body = json.dumps({"instances": ["abc", "é"]})
    done = subprocess.run(["curl", "-s", "-d", body, url], capture_output=True, text=True, check=True)
    assert [row["label"] for row in json.loads(done.stdout)["predictions"]] == ["abc", "é"]


def test_grpcurl(toys):
    if shutil.which("grpcurl") is None:
        pytest.skip("grpcurl is not installed")
    body = json.dumps({"model_spec": {"name": "toy"}, "inputs": {"x": {"dtype": 1, "float_val": [2]}}})
    command = ["grpcurl", "-plaintext", "-d", body, toys.address, "tensorflow.serving.PredictionService/Predict"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["outputs"]["y"]["floatVal"] == [101]


def test_plain_models_of_both_tensorflows(toys):
    """Our client in a process without TensorFlow, for models that tfllm did not make."""
    code = """
import sys
import numpy as np
import tfllm
for model, x, expected in (("toy", np.float32([2]), [101.0]), ("classic", np.float32([[2]]), [[6.0]])):
    with tfllm.Client(sys.argv[1], model=model) as client:
        assert client.predict_arrays({"x": x})["y"].tolist() == expected
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, toys.address], check=True)
