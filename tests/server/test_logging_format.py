import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import serving_models
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfllm.server.logging_format import set_up_logging


@pytest.fixture
def stream():
    logger = logging.getLogger("tfllm")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield io.StringIO()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def test_a_json_object_a_line(stream):
    set_up_logging("json", "INFO", stream)
    set_up_logging("json", "info", stream)  # replaces the first
    logger = logging.getLogger("tfllm.server.versions")
    logger.info("Model '%s' is ready\nnow é", "a", extra={"model": "a", "version": 3})
    logger.debug("not this")
    try:
        raise KeyError("a bug")
    except KeyError:
        logger.exception("failed")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert abs(datetime.fromisoformat(first.pop("time")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert first == {
        "level": "INFO",
        "logger": "tfllm.server.versions",
        "message": "Model 'a' is ready\nnow é",
        "model": "a",
        "version": 3,
    }
    assert "é" in stream.getvalue()
    assert "KeyError: 'a bug'" in second["exception"]


def test_lines_for_people(stream):
    set_up_logging("text", "WARNING", stream)
    logging.getLogger("tfllm.server").info("not this")
    logging.getLogger("tfllm.server").warning("this")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING tfllm.server: this\n", stream.getvalue())


def test_a_server_that_logs_json_and_no_text_of_a_request(tmp_path):
    serving_models.write_toy(tmp_path, 1, 1.0)
    command = [sys.executable, "-m", "tfllm", "serve", str(tmp_path), "--port=0", "--log_format=json"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with open(tmp_path / "log", "wb") as log:
        running = subprocess.Popen(
            [*command, "--log_level=debug"], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    try:
        address = re.search(r"on (\S+) \(gRPC", running.stdout.readline())[1]
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "toy"
        request.inputs["text"].CopyFrom(tf.make_tensor_proto(["my secret text"]))
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for signature, works in (("text", True), ("my_secret_signature", False), ("half", False)):
                request.model_spec.signature_name = signature
                try:
                    stub.Predict(request, timeout=20)
                except grpc.RpcError:
                    assert not works
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert "Model 'toy' version 1: AVAILABLE" in [record["message"] for record in records]
    assert {"time", "level", "logger", "message"} <= records[0].keys()
    assert "my secret" not in "".join(lines)
