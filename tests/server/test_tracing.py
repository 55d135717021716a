"""Traces of a real server: the caller's trace goes on, times add up, and a collector gets them by OTLP."""

import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import serving_models
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc as prediction

pytest.importorskip("opentelemetry.sdk", reason="pip install 'tfllm[otel]'")

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tfllm.errors import ConfigError
from tfllm.server.config import ServerConfig
from tfllm.server.recorders import make_recorders
from tfllm.server.server import serve
from tfllm.server.tracing import Tracing

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traced_models")
    serving_models.write_toy(folder, 1, 1.0)
    return folder


@pytest.fixture(scope="module")
def traced(root):
    """Return a server, and what holds its spans."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with serve(root, port=0, rest_api_port=0) as server:
        server.observe(Tracing(provider))
        yield server, exporter


@pytest.fixture
def spans(traced):
    """Return what makes a call, and gives the spans of it by name."""

    def call(make):
        traced[1].clear()
        make(traced[0])
        return {span.name: span for span in traced[1].get_finished_spans()}

    return call


def predict(server, *, signature="", metadata=()):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0, 3.0]))
    with grpc.insecure_channel(server.address) as channel:
        prediction.PredictionServiceStub(channel).Predict(request, timeout=20, metadata=metadata)


def post(server, path, body, headers):
    url = f"http://127.0.0.1:{server.rest_api_port}{path}"
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)).close()


def test_a_call_over_grpc(spans):
    found = spans(lambda server: predict(server, metadata=[("traceparent", TRACEPARENT)]))
    span, compute = found["tensorflow.serving.PredictionService/Predict"], found["compute"]
    assert span.kind is SpanKind.SERVER
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    attributes = span.attributes
    assert (attributes["tfllm.model"], attributes["tfllm.version"], attributes["tfllm.rows"]) == ("toy", 1, 2)
    assert (attributes["tfllm.signature"], attributes["rpc.grpc.status_code"]) == ("serving_default", 0)
    assert compute.parent.span_id == span.context.span_id
    assert span.start_time <= found["queue"].start_time <= compute.start_time < compute.end_time <= span.end_time
    assert found["queue"].end_time == compute.start_time


def test_a_call_over_rest(spans):
    headers = {"Traceparent": TRACEPARENT}
    found = spans(lambda server: post(server, "/v1/models/toy:predict", {"instances": [2.0]}, headers))
    assert f"{found['REST Predict'].context.trace_id:032x}" == TRACE
    assert found["compute"].parent.span_id == found["REST Predict"].context.span_id


def test_a_refused_call_is_an_error_without_the_words(spans):
    def wrong(server):
        with pytest.raises(grpc.RpcError):
            predict(server, signature="secret words")

    span = spans(wrong)["tensorflow.serving.PredictionService/Predict"]
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "FAILED_PRECONDITION")
    assert span.attributes["rpc.grpc.status_code"] == 9
    assert "secret words" not in span.to_json()


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-00", f"ff-{TRACE}-{PARENT}-01"])
def test_a_broken_header_starts_a_trace_of_its_own(header, spans):
    metadata = [("traceparent", header)] if header else []
    span = spans(lambda server: predict(server, metadata=metadata))["tensorflow.serving.PredictionService/Predict"]
    assert span.parent is None


def test_a_caller_that_does_not_sample_is_followed(spans):
    assert not spans(lambda server: predict(server, metadata=[("traceparent", TRACEPARENT[:-2] + "00")]))


def test_the_status_of_a_model(spans):
    def look(server):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "toy"
        with grpc.insecure_channel(server.address) as channel:
            model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request)

    assert set(spans(look)) >= {"tensorflow.serving.ModelService/GetModelStatus"}


def test_a_collector_gets_the_spans(root):
    seen, came = [], threading.Event()

    class Collector(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):
            seen.append(request)
            came.set()
            return trace_service_pb2.ExportTraceServiceResponse()

    collector = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), collector)
    port = collector.add_insecure_port("127.0.0.1:0")
    collector.start()
    config = ServerConfig(trace_endpoint=f"http://127.0.0.1:{port}")
    with serve(root, port=0, config=config) as server:
        predict(server)
    collector.stop(1)
    assert came.is_set()  # by the stop at the latest
    (resource,) = seen[0].resource_spans
    named = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert named["service.name"] == "tfllm-serving"
    assert {span.name for scope in resource.scope_spans for span in scope.spans} >= {"compute"}


def test_what_cannot_be_right(monkeypatch):
    with pytest.raises(ConfigError, match="trace_sample=2"):
        make_recorders(ServerConfig(trace_endpoint="http://127.0.0.1:1", trace_sample=2))
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(__import__("sys").modules, "tfllm.server.tracing")
    with pytest.raises(ConfigError, match=r"pip install 'tfllm\[otel\]'"):
        make_recorders(ServerConfig(trace_endpoint="http://127.0.0.1:1"))
