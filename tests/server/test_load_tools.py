"""Load tools that others wrote drive both ports: h2load (Debian: nghttp2-client) and wrk."""

import collections
import re
import shutil
import struct
import subprocess

import pytest
from serving_requests import fill, floats
from tensorflow_serving.apis import predict_pb2

from tfllm.server.server import serve

pytestmark = pytest.mark.slow
PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Statuses(collections.Counter):
    def on_request(self, event):
        self[event.entrypoint, event.status] += 1


@pytest.fixture
def counted(models):
    """Return a server, and how its requests went."""
    with serve(models / "toy", port=0, rest_api_port=0) as server:
        statuses = Statuses()
        server.observe(statuses)
        yield server, statuses


def need(tool):
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}")


def test_h2load(counted, tmp_path):
    need("h2load")
    server, statuses = counted
    request = predict_pb2.PredictRequest(inputs={"x": floats(2)})
    fill(request.model_spec, "toy")
    data = request.SerializeToString()
    (tmp_path / "body").write_bytes(struct.pack(">BI", 0, len(data)) + data)  # a message of gRPC, not compressed
    command = ["h2load", "-n2000", "-c8", "-m8", "-d", str(tmp_path / "body"), "-H", "content-type: application/grpc"]
    command += ["-H", "te: trailers", f"http://{server.address.replace('localhost', '127.0.0.1')}{PREDICT}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout
    assert statuses == {("GRPC", "OK"): 2000}


def test_wrk(counted, tmp_path):
    need("wrk")
    server, statuses = counted
    script = tmp_path / "post.lua"
    script.write_text('wrk.method = "POST"\nwrk.body = \'{"instances": [2]}\'\n')
    url = f"http://127.0.0.1:{server.rest_api_port}/v1/models/toy:predict"
    command = ["wrk", "-t1", "-c8", "-d2s", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "Socket errors" not in done.stdout and "Non-2xx" not in done.stdout, done.stdout
    answered = int(re.search(r"(\d+) requests in", done.stdout).group(1))
    assert answered > 0 and statuses["REST", "OK"] >= answered
    assert {status for _, status in statuses} == {"OK"}
