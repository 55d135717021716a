"""The request log, written by a real server and read as TensorFlow Serving reads its warm-up."""

import os
import shutil
import threading
import time

import grpc
import pytest
import serving_models
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfllm.errors import ConfigError
from tfllm.server import request_log
from tfllm.server.config import ServerConfig
from tfllm.server.observers import RequestEvent
from tfllm.server.request_log import RequestLog
from tfllm.server.server import serve

SECRET = "Ada wrote to ada@example.com"
MASKED = "Ada wrote to xxx@xxxxxxx.xxx"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("request_log_models")
    serving_models.write_toy(folder, 1, 1.0)
    serving_models.write_classic(folder)
    return folder


def records(folder):
    """Return the records of all whole files, oldest file first."""
    files = sorted(folder.glob("*/[!.]*.tfrecord"))
    data = [record for file in files for record in tf.compat.v1.io.tf_record_iterator(str(file))]
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in data]


def text_request(*texts):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.model_spec.version.value = 1
    request.model_spec.signature_name = "text"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(list(texts)))
    return request


@pytest.fixture
def ask(root, tmp_path):
    """Return what serves with a request log, makes calls, stops, and gives the records."""

    def call(*calls, **settings):
        config = ServerConfig(request_log_dir=str(tmp_path / "log"), **{"request_log_sample": 1.0, **settings})
        with serve(root, port=0, rest_api_port=0, config=config) as server, grpc.insecure_channel(server.address) as on:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(on)
            for make in calls:
                make(stub, f"http://127.0.0.1:{server.rest_api_port}")
        return records(tmp_path / "log")

    return call


def post(address, path, body):
    import urllib.request

    urllib.request.urlopen(address + path, body.encode()).close()


def test_a_call_over_grpc(ask):
    (found,) = ask(lambda stub, _: stub.Predict(text_request(SECRET, "hello")))
    request, response = found.predict_log.request, found.predict_log.response
    assert list(request.inputs["text"].string_val) == [MASKED.encode(), b"hello"]
    assert list(response.outputs["same"].string_val) == [MASKED.encode(), b"hello"]
    assert list(response.outputs["letters"].int_val) == [28, 5]
    assert not request.model_spec.HasField("version")
    spec = found.log_metadata.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 1, "text")
    assert found.log_metadata.sampling_config.sampling_rate == 1
    assert abs(found.log_metadata.timestamp_secs - time.time()) < 60


def test_a_call_over_rest_gives_the_same_record(ask):
    body = f'{{"signature_name": "text", "instances": ["{SECRET}", "hello"]}}'
    by_grpc, by_rest = ask(
        lambda stub, _: stub.Predict(text_request(SECRET, "hello")),
        lambda _, address: post(address, "/v1/models/toy/versions/1:predict", body),
    )
    assert by_rest.predict_log == by_grpc.predict_log


def test_texts_as_they_are_where_that_is_asked_for(ask):
    (found,) = ask(lambda stub, _: stub.Predict(text_request(SECRET)), request_log_mask=False)
    assert list(found.predict_log.request.inputs["text"].string_val) == [SECRET.encode()]


def test_examples(ask):
    def fill(request, signature):
        request.model_spec.name = "classic"
        request.model_spec.signature_name = signature
        features = request.input.example_list.examples.add().features.feature
        features["x"].float_list.value.append(2.0)
        features["note"].bytes_list.value.append(SECRET.encode())
        return request

    classified, valued = ask(
        lambda stub, _: stub.Classify(fill(classification_pb2.ClassificationRequest(), "classify")),
        lambda stub, _: stub.Regress(fill(regression_pb2.RegressionRequest(), "regress")),
    )
    for log in (classified.classify_log, valued.regress_log):
        (example,) = log.request.input.example_list.examples
        assert example.features.feature["note"].bytes_list.value[0] == MASKED.encode()
        assert example.features.feature["x"].float_list.value[0] == 2.0
    (row,) = classified.classify_log.response.result.classifications
    assert [item.label for item in row.classes] == ["no", "yes"]


def test_refused_calls_and_looks_are_not_recorded(ask):
    def wrong(stub, _):
        request = text_request("x")
        request.model_spec.signature_name = "nope"
        with pytest.raises(grpc.RpcError):
            stub.Predict(request)

    assert ask(wrong, lambda _, address: post_get(address, "/v1/models/toy")) == []


def post_get(address, path):
    import urllib.request

    urllib.request.urlopen(address + path).close()


def test_the_share_of_the_sample(ask):
    calls = [lambda stub, _: stub.Predict(text_request("x"))] * 200
    assert ask(*calls[:20], request_log_sample=0.0) == []
    assert 20 <= len(ask(*calls, request_log_sample=0.25)) <= 80


def test_a_file_warms_up_the_next_version(ask, root, tmp_path):
    ask(*[lambda stub, _: stub.Predict(text_request(SECRET))] * 3)
    (file,) = (tmp_path / "log" / "toy").glob("*.tfrecord")
    shutil.copytree(root / "toy" / "1", tmp_path / "next" / "toy" / "2")
    extra = tmp_path / "next" / "toy" / "2" / "assets.extra"
    extra.mkdir()
    shutil.copy(file, extra / "tf_serving_warmup_requests")
    with serve(tmp_path / "next", port=0) as server:
        text = server.metrics.text()
    assert 'tfllm_warmup_state{model_name="toy",version="2",state="done"} 1' in text
    assert ":tensorflow:serving:model_warmup_records_read{" in text and "} 3\n" in text


def event(model="toy", request=None, **values):
    request = request or text_request("x")
    response = predict_pb2.PredictResponse()
    return RequestEvent("Predict", "GRPC", model=model, request=request, response=response, **values)


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_files_are_hidden_until_they_are_whole_and_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(request_log, "FILE_RECORDS", 3)
    monkeypatch.setattr(request_log, "_FILES_KEPT", 2)
    log = RequestLog(tmp_path, sample=1.0)
    for number in range(1, 11):
        log.on_request(event(request=text_request(str(number))))
        wait_for(lambda number=number: log.recorded == number)
    wait_for(lambda: len(list(tmp_path.glob("toy/[!.]*"))) == 2)
    assert len(list(tmp_path.glob("toy/.partial-*"))) == 1
    log.close()
    log.close()
    assert not list(tmp_path.glob("toy/.*"))
    texts = [found.predict_log.request.inputs["text"].string_val[0] for found in records(tmp_path)]
    assert texts == [b"7", b"8", b"9", b"10"]


def test_a_slow_disk_holds_nobody_up(tmp_path, monkeypatch):
    free = threading.Event()
    monkeypatch.setattr(request_log, "make_record", lambda *arguments: free.wait(20) and b"record")
    log = RequestLog(tmp_path, sample=1.0)
    start = time.monotonic()
    for _ in range(1000):
        log.on_request(event())
    assert time.monotonic() - start < 2
    free.set()
    log.close()
    assert log.recorded + log.dropped == 1000
    assert log.recorded <= request_log._WAITING + 2


def test_large_requests_are_not_kept(tmp_path):
    log = RequestLog(tmp_path, sample=1.0)
    log.on_request(event(request_bytes=2 << 20))
    log.close()
    assert (log.recorded, log.dropped) == (0, 1)


def test_a_record_that_cannot_be_made_is_dropped(tmp_path, caplog):
    log = RequestLog(tmp_path, sample=1.0)
    log.on_request(event(request="secret text"))
    log.on_request(event())
    log.close()
    assert (log.recorded, log.dropped) == (1, 1)
    assert "could not be recorded" in caplog.text and "secret text" not in caplog.text


def test_what_a_crash_left_behind_is_mended(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    name = ".partial-20260101T000000Z-999999-1.tfrecord"
    with tf.io.TFRecordWriter(str(folder / name)) as writer:
        for text in ("one", "two"):
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(text_request(text))
            writer.write(log.SerializeToString())
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-5])
    (folder / name.replace("-1.", "-2.")).write_bytes(data[:3])
    running = folder / name.replace("999999", str(os.getppid()))
    running.write_bytes(data)
    RequestLog(tmp_path).close()
    (found,) = records(tmp_path)
    assert found.predict_log.request.inputs["text"].string_val[0] == b"one"
    assert sorted(folder.glob(".*")) == [running]  # it belongs to a process that runs


@pytest.mark.parametrize("model", ["../escape", "a/b", ".", "..", "é b"])
def test_a_name_never_leaves_the_folder(model, tmp_path):
    log = RequestLog(tmp_path / "log", sample=1.0)
    log.on_request(event(model))
    log.close()
    (file,) = tmp_path.rglob("*.tfrecord")
    assert file.parent.parent == tmp_path / "log"


def test_what_cannot_be_right(tmp_path):
    with pytest.raises(ConfigError, match="request_log_sample=2"):
        RequestLog(tmp_path, sample=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="request_log_dir to write to"):
        RequestLog(tmp_path / "file")
