"""The request log, written by a real server and read as TensorFlow Serving reads its warm-up."""

import os
import shutil
import socket
import threading
import time
from types import SimpleNamespace

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
from tfllm.server import request_log, request_log_records
from tfllm.server.config import ServerConfig
from tfllm.server.observers import RequestEvent
from tfllm.server.request_log import RequestLog
from tfllm.server.request_log_masking import mask
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


def packed(*texts):
    """Return a tensor of texts as C++ clients may send it: lengths, then bytes, in `tensor_content`."""
    tensor = tf.make_tensor_proto([b""] * len(texts))
    del tensor.string_val[:]
    data = [text.encode() for text in texts]
    tensor.tensor_content = bytes(map(len, data)) + b"".join(data)
    return tensor


def test_packed_texts_are_masked(ask):
    request = text_request()
    request.inputs["text"].CopyFrom(packed(SECRET, "hello"))
    (found,) = ask(lambda stub, _: stub.Predict(request))
    tensor = found.predict_log.request.inputs["text"]
    assert (list(tensor.string_val), tensor.tensor_content) == ([MASKED.encode(), b"hello"], b"")
    assert tensor.tensor_shape.dim[0].size == 2
    assert list(found.predict_log.response.outputs["same"].string_val) == [MASKED.encode(), b"hello"]
    assert SECRET.encode() not in found.SerializeToString()


def test_packed_texts_of_an_answer_are_masked():
    answer = predict_pb2.PredictResponse()
    answer.outputs["same"].CopyFrom(packed(SECRET))
    answered = RequestEvent("Predict", "GRPC", request=text_request(SECRET), response=answer)
    data = request_log_records.make_record(answered, 1.0, True)
    found = prediction_log_pb2.PredictionLog.FromString(data).predict_log.response.outputs["same"]
    assert (list(found.string_val), found.tensor_content) == ([MASKED.encode()], b"")


def example_request(*texts):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "classic"
    request.model_spec.signature_name = "classify"
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(2.0)
    example.features.feature["note"].bytes_list.value.extend(text.encode() for text in texts)
    request.inputs["inputs"].CopyFrom(tf.make_tensor_proto([example.SerializeToString()]))
    return request


def test_texts_in_serialized_examples_are_masked(ask):
    """The byte before a text is its length: here it is the letter `A`, or a digit, which no mask may change."""
    texts = ["ada@example.com".ljust(65), "GB82WEST12345698765432".ljust(65), "4111 1111 1111 1111".ljust(50), SECRET]
    (found,) = ask(lambda stub, _: stub.Predict(example_request(*texts)))
    example = tf.train.Example.FromString(found.predict_log.request.inputs["inputs"].string_val[0])
    assert list(example.features.feature["note"].bytes_list.value) == [mask(text).encode() for text in texts]
    assert example.features.feature["note"].bytes_list.value[1].rstrip() == b"xx00xxxx00000000000000"
    assert list(example.features.feature["x"].float_list.value) == [2.0]
    assert list(found.predict_log.response.outputs["scores"].float_val) == [6.0, -6.0]


@pytest.mark.parametrize("text", ["\n\x05hello", "\n", "\n\x02\n\x00", "\n\nada@example.com"])
def test_texts_that_only_begin_like_an_example_are_masked_as_texts(text):
    answered = RequestEvent("Predict", "GRPC", request=text_request(text), response=predict_pb2.PredictResponse())
    data = request_log_records.make_record(answered, 1.0, True)
    (found,) = prediction_log_pb2.PredictionLog.FromString(data).predict_log.request.inputs["text"].string_val
    assert found == mask(text).encode()


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
    assert texts_of(tmp_path) == [b"7", b"8", b"9", b"10"]


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


def write_partial(folder, host, pid, number, *texts):
    """Write a file as a server leaves it that is killed."""
    folder.mkdir(exist_ok=True)
    path = folder / f".partial-20260101T000000Z-{host}-{pid}-{number}.tfrecord".replace("--", "-")
    with tf.io.TFRecordWriter(str(path)) as writer:
        for text in texts:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(text_request(text))
            writer.write(log.SerializeToString())
    return path


def texts_of(folder):
    return [found.predict_log.request.inputs["text"].string_val[0] for found in records(folder)]


def test_what_a_crash_left_behind_is_mended(tmp_path):
    folder = tmp_path / "toy"
    cut = write_partial(folder, socket.gethostname(), 999999, 1, "one", "two")
    cut.write_bytes(cut.read_bytes()[:-5])
    empty = write_partial(folder, socket.gethostname(), 999999, 2, "three")
    empty.write_bytes(empty.read_bytes()[:3])
    running = write_partial(folder, socket.gethostname(), os.getppid(), 1, "four")
    RequestLog(tmp_path).close()
    assert texts_of(tmp_path) == [b"one"]
    assert sorted(folder.glob(".*")) == [running]  # it belongs to a process that runs


@pytest.mark.parametrize("host", ["another-host", ""])  # without one: as tfllm wrote them before
def test_what_another_host_writes_is_left_alone_until_it_is_old(tmp_path, host):
    """In two containers, both servers may have the process number 1: here, that of this process."""
    others = [write_partial(tmp_path / "toy", host, os.getpid(), number, "one") for number in (1, 2)]
    long_ago = time.time() - 3 * 3600
    os.utime(others[1], (long_ago, long_ago))
    RequestLog(tmp_path).close()
    assert others[0].exists() and not others[1].exists()
    assert texts_of(tmp_path) == [b"one"]


def test_two_hosts_never_write_to_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *arguments: "20260101T000000Z")
    logs = []
    for host in ("web-1", "web-2"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        logs.append(RequestLog(tmp_path, sample=1.0))
        logs[-1].on_request(event(request=text_request(host)))
        wait_for(lambda: logs[-1].recorded == 1)
    for log in logs:
        log.close()
    assert sorted(texts_of(tmp_path)) == [b"web-1", b"web-2"]


def test_a_folder_that_is_deleted_is_made_again(tmp_path, caplog):
    log = RequestLog(tmp_path / "log", sample=1.0)
    log.on_request(event(request=text_request("lost")))
    wait_for(lambda: log.recorded == 1)
    shutil.rmtree(tmp_path / "log")
    log.on_request(event(request=text_request("kept")))
    wait_for(lambda: log.recorded == 2)
    log.close()
    assert texts_of(tmp_path / "log") == [b"kept"]
    assert "has been removed while it was written. Lost: 1 records." in caplog.text


def test_a_file_that_cannot_be_finished_stops_nothing(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(request_log, "_FILE_SECONDS", 0.0)
    log = RequestLog(tmp_path, sample=1.0)
    publish = request_log._publish
    monkeypatch.setattr(
        request_log, "_publish", lambda partial, final: shutil.rmtree(tmp_path) or publish(partial, final)
    )
    log.on_request(event(request=text_request("lost")))
    wait_for(lambda: "could not be finished. Lost: 1 records." in caplog.text)
    monkeypatch.setattr(request_log, "_publish", publish)
    log.on_request(event(request=text_request("kept")))
    log.close()
    assert texts_of(tmp_path) == [b"kept"]


def test_records_are_counted_in_the_metrics(root, tmp_path, monkeypatch):
    name = ":tensorflow:serving:request_log_count"
    monkeypatch.setattr(request_log, "_REQUEST_BYTES", 1000)
    config = ServerConfig(request_log_dir=str(tmp_path), request_log_sample=1.0)
    with serve(root, port=0, config=config) as server, grpc.insecure_channel(server.address) as on:
        assert f"# TYPE {name} counter\n" in server.metrics.text() and f"{name}{{" not in server.metrics.text()
        stub = prediction_service_pb2_grpc.PredictionServiceStub(on)
        for text in ("short", "short", "long" * 1000):
            stub.Predict(text_request(text))
        ok = f'{name}{{model_name="toy",status_code="OK"}} 2\n'
        dropped = f'{name}{{model_name="toy",status_code="RESOURCE_EXHAUSTED"}} 1\n'
        wait_for(lambda: ok in server.metrics.text() and dropped in server.metrics.text())


def test_records_that_fail_are_counted_in_the_metrics(tmp_path):
    told = []
    log = RequestLog(tmp_path, sample=1.0)
    log.report_to(SimpleNamespace(on_record=lambda *record: told.append(record)))
    log.on_request(event(request="no request"))
    log.on_request(event())
    log.close()
    assert told == [("toy", "INTERNAL"), ("toy", "OK")]


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
