"""Recorded requests, run before a version answers."""

import shutil
import time

import numpy as np
import pytest
import tensorflow as tf
from serving_requests import TYPES, fill, floats, tensor
from tensorflow.core.example.example_pb2 import Example
from tensorflow_serving.apis import prediction_log_pb2

from tfllm.client.client import Client
from tfllm.errors import CallError, InvalidInput, RepositoryError
from tfllm.repository import find_version
from tfllm.server.config import ServerConfig
from tfllm.server.loading import Loader
from tfllm.server.server import serve
from tfllm.server.warmup import WARMUP_FILE


@pytest.fixture
def toy(models, tmp_path):
    """Return a copy of `toy` with version 2 alone."""
    shutil.copytree(models / "toy" / "2", tmp_path / "toy" / "2")
    return tmp_path / "toy"


@pytest.fixture
def classic(models, tmp_path):
    shutil.copytree(models / "classic" / "7", tmp_path / "classic" / "7")
    return tmp_path / "classic"


def record(folder, *logs):
    file = find_version(folder).path / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())
    return file


def predict(inputs, signature=None, outputs=()):
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    fill(request.model_spec, signature=signature)
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(value)
    request.output_filter.extend(outputs)
    return log


def example(kind, signature, value=2.0):
    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, f"{kind}_log").request
    if kind == "multi_inference":
        task = request.tasks.add(method_name="tensorflow/serving/regress")
        fill(task.model_spec, "classic", signature=signature)
    else:
        fill(request.model_spec, "classic", signature=signature)
    row = Example()
    row.features.feature["x"].float_list.value.append(value)
    request.input.example_list.examples.append(row)
    return log


def load(folder, **settings):
    told = []
    servable = Loader(ServerConfig(**settings), None, lambda event: told.append((event.state, event.records)))(
        find_version(folder)
    )
    servable.close()
    return told


def test_without_requests(toy):
    assert load(toy) == [("none", 0)]


def test_every_kind_of_request(classic):
    record(
        classic,
        predict({"x": tensor(TYPES.DT_FLOAT, [1, 1], float_val=[1])}),
        example("classify", "classify"),
        example("regress", "regress"),
        example("multi_inference", "regress"),
    )
    assert load(classic) == [("running", 0), ("done", 4)]


def test_a_record_without_tasks_is_refused(classic):
    log = prediction_log_pb2.PredictionLog()
    log.multi_inference_log.request.SetInParent()
    record(classic, log)
    with pytest.raises(InvalidInput, match="at least one task"):
        load(classic)


def test_a_bug_is_a_failed_warmup_too(toy, monkeypatch):
    from tfllm.server.servable import Servable

    told = []
    record(toy, predict({"x": floats(1)}))
    monkeypatch.setattr(Servable, "run_step", lambda self, *step: {}["bug"])
    with pytest.raises(KeyError):
        Loader(ServerConfig(), None, lambda event: told.append((event.state, event.status)))(find_version(toy))
    assert told[-1] == ("failed", "INTERNAL")


def test_each_is_run_as_often_as_asked(toy, monkeypatch):
    from tfllm.server.servable import Servable

    ran = []
    run = Servable.run_step
    monkeypatch.setattr(Servable, "run_step", lambda self, *step: ran.append(step[0]) or run(self, *step))
    record(toy, predict({"x": floats(1)}))
    load(toy, num_request_iterations_for_warmup=3)
    assert len(ran) == 3
    load(toy)
    assert len(ran) == 4
    assert load(toy, enable_model_warmup=False) == []


@pytest.mark.parametrize("busy, seconds", [(False, 0.1), (True, 0.2)])
def test_half_of_the_time_is_left_to_requests_under_way(toy, busy, seconds):
    record(toy, predict({"seconds": tensor(TYPES.DT_DOUBLE, [], double_val=[0.1])}, "slow"))
    told = []
    Loader(ServerConfig(), None, told.append, lambda: busy)(find_version(toy)).close()
    assert told[-1].state == "done" and told[-1].seconds >= seconds


@pytest.mark.parametrize(
    "logs, code, message",
    [
        ([predict({"x": floats(1)}), predict({"nope": floats(1)})], "INVALID_ARGUMENT", "nope"),
        ([predict({"x": floats(-1)}, "picky")], "INVALID_ARGUMENT", "must be above zero"),
        ([b"\xff\xff"], "INVALID_ARGUMENT", "Failed to parse warmup record"),
        (
            [prediction_log_pb2.PredictionLog(session_run_log={})],
            "UNIMPLEMENTED",
            "^Unsupported log_type for warmup: 5",
        ),
    ],
)
def test_a_request_that_fails(toy, logs, code, message):
    record(toy, *logs)
    with pytest.raises(CallError, match=message) as caught:
        load(toy)
    assert caught.value.code == code


def test_a_file_that_is_no_tfrecord(toy):
    record(toy, predict({"x": floats(1)})).write_bytes(b"this is no TFRecord file, but some other thing")
    with pytest.raises(CallError, match="corrupted record at 0") as caught:
        load(toy)
    assert caught.value.code == "DATA_LOSS"
    assert caught.value.details.endswith(". Please verify your warmup data is in TFRecord format.")


def test_at_most_1000_requests(toy):
    record(toy, *[predict({"x": floats(1)})] * 1000)
    assert load(toy)[-1] == ("done", 1000)
    file = record(toy, *[predict({"x": floats(1)})] * 1001)
    with pytest.raises(CallError) as caught:
        load(toy)
    assert caught.value.details == f"Number of warmup records exceeds the maximum (1000) at {file}"


def test_a_version_whose_warm_up_fails_never_answers(models, tmp_path):
    base = tmp_path / "toy"
    shutil.copytree(models / "toy" / "1", base / "1")
    shutil.copytree(models / "toy" / "2", tmp_path / "new" / "2")
    record(tmp_path / "new", predict({"nope": floats(1)}))
    config = ServerConfig(file_system_poll_wait_seconds=0.05)
    with serve(base, port=0, config=config) as server, Client(server.address, model="toy") as client:
        (tmp_path / "new" / "2").rename(base / "2")
        end = time.monotonic() + 20
        while client.status()[0].state != "END" and time.monotonic() < end:
            time.sleep(0.05)
        newest = client.status()[0]
        assert (newest.version, newest.state) == (2, "END") and "nope" in str(newest)
        assert client.predict_arrays({"x": np.float32([2])})["y"].tolist() == [2]
        assert 'tfllm_warmup_state{model_name="toy",version="2",state="failed"} 1' in server.metrics.text()


def test_at_the_start_it_stops_the_server(toy):
    record(toy, predict({"nope": floats(1)}))
    with pytest.raises(RepositoryError, match="nope"):
        serve(toy, port=0)
