"""Loads on real servers, and what they show."""

import asyncio
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rough_servers import Answers, running

from tfllm.client.aio_transport import GrpcAioTransport
from tfllm.client.calls import Target
from tfllm.client.load import Load, requests_for
from tfllm.client.metadata import ModelMetadata, Signature, TensorSpec
from tfllm.errors import ConfigError, InvalidInput
from tfllm.wire import messages, tensors


def run(answers, measure):
    """Return the result of a load on a server of one thread."""

    async def work(address):
        transport = GrpcAioTransport(address)
        try:
            return await measure(Load(transport, [b"a", b"b"], 4, 5.0))
        finally:
            await transport.close()

    with running(answers) as address:
        return asyncio.run(work(address))


class Steady(Answers):
    """Takes 20 ms, and once `pause` seconds for all."""

    def __init__(self, pause=0.0):
        super().__init__()
        self.pause, self.turn = pause, ThreadPoolExecutor(1)

    def service(self, details):
        handler = super().service(details)

        def answer(request, context):
            return self.turn.submit(self._answer, request).result()

        return handler._replace(unary_unary=answer)

    def _answer(self, request):
        self.calls += 1
        time.sleep(self.pause if self.calls == 30 else 0.02)
        return request


def test_a_closed_loop():
    answers = Steady(0.02)
    result = run(answers, lambda load: load.closed(2, 0.6, 0.2))
    assert 5 < result.requests < 35 and result.errors == 0 and result.seconds >= 0.6
    assert answers.calls > result.requests  # the warm-up is not counted
    assert result.per_second == pytest.approx(result.requests / result.seconds)
    assert result.rows_per_second == pytest.approx(4 * result.per_second)
    assert 35 < result.percentiles["p50"] and result.percentiles["p99.9"] <= result.longest * 1.01


def test_a_pause_of_the_server_is_not_left_out():
    """A pause of half a second is one of many times in a closed loop, and many in truth."""
    closed = run(Steady(0.5), lambda load: load.closed(1, 1.5, 0.0))
    assert 2 * closed.percentiles["p90"] < closed.corrected["p90"]
    opened = run(Steady(0.5), lambda load: load.open(30, 1.5, 0.0))
    assert opened.percentiles["p90"] > 150 and opened.corrected == opened.percentiles
    assert opened.requests == 45


def test_failures_are_counted_and_named():
    async def work():
        transport = GrpcAioTransport("127.0.0.1:1")
        return await Load(transport, [b"x"], 1, 0.5).open(20, 0.3, 0.0)

    result = asyncio.run(work())
    assert result.requests == 0 and result.errors == 6 and "127.0.0.1:1" in result.first_error
    assert result.percentiles["p99"] == 0


def metadata(**inputs):
    return ModelMetadata("m", 1, {"serving_default": Signature("serving_default", inputs, {}, "")})


def test_requests_for_any_model():
    found = metadata(
        text=TensorSpec("string", (None,)),
        x=TensorSpec("float32", (None, 3)),
        ids=TensorSpec("int64", (2, None)),
        any=TensorSpec("bfloat16", None),
    )
    requests = requests_for(Target("m"), found, ["a", "b", "c"], 2)
    assert len(requests) == 2
    inputs = messages.PredictRequest.FromString(requests[1]).inputs
    arrays = {name: tensors.to_array(inputs[name]) for name in inputs}
    assert arrays["text"].tolist() == [b"c", b"a"]
    assert arrays["x"].shape == (2, 3) and arrays["x"].dtype == np.float32
    assert arrays["ids"].shape == (2, 1) and arrays["any"].shape == (2,)
    assert arrays["any"].dtype == "bfloat16"
    with pytest.raises(InvalidInput, match="dtype that numpy has. Received: type 20"):
        requests_for(Target("m"), metadata(x=TensorSpec("type 20", None)), ["a"], 1)
    with pytest.raises(ConfigError, match="Available: 'serving_default'"):
        requests_for(Target("m", signature="other"), found, ["a"], 1)
    with pytest.raises(ConfigError, match="texts"):
        requests_for(Target("m"), found, [], 1)


def test_the_verb(server, tmp_path):
    (tmp_path / "texts.txt").write_text("one\n\ntwo\n")
    verb = [sys.executable, "-m", "tfllm", "bench", server.address, "--model", "echo", "--duration", "0.5"]
    verb += ["--warmup", "0.1", "--texts", str(tmp_path / "texts.txt")]
    done = subprocess.run([*verb, "--concurrency", "1,4", "--json"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert [row["load"] for row in found] == [1, 4] and all(row["requests"] > 10 for row in found)
    picture = tmp_path / "curve.png"
    done = subprocess.run([*verb, "--rate", "50", "--png", str(picture)], capture_output=True, text=True, check=True)
    assert "p99.9 ms" in done.stdout and "open" in done.stdout
    assert picture.read_bytes()[:4] == b"\x89PNG"
    done = subprocess.run([*verb, "--concurrency", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "expected numbers" in done.stderr
