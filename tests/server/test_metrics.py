"""TensorFlow Serving's metrics by name, type and label; ours beside them; the REST port shows them."""

import http.client
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tfllm.client.client import Client
from tfllm.errors import CallError, ConfigError
from tfllm.server.config import ServerConfig
from tfllm.server.metrics import metrics_path
from tfllm.server.server import serve

# the names and types under which a TensorFlow Serving 2.20 shows them
NAMES = {
    "batching:mixed_priority_batching_policy": "gauge",
    "batching_session:input_batch_size": "histogram",
    "batching_session:padding_size": "histogram",
    "batching_session:processed_batch_size": "histogram",
    "batching_session:queuing_latency": "histogram",
    "batching_session:wrapped_run_count": "counter",
    "mlmd_map": "gauge",
    "model_warmup_latency": "histogram",
    "model_warmup_records_read": "counter",
    "request_count": "counter",
    "request_example_count_total": "counter",
    "request_example_counts": "histogram",
    "request_latency": "histogram",
    "request_log_count": "counter",
    "runtime_latency": "histogram",
}
WITH_BATCHES = {name for name in NAMES if name.endswith("_size")}  # which it does not show before the first batch


def page(port, path="/monitoring/prometheus/metrics"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.headers["Content-Type"], response.read().decode()


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    file = tmp_path_factory.mktemp("settings") / "monitoring.config"
    file.write_text("prometheus_config { enable: true }")
    config = ServerConfig(monitoring_config_file=str(file), enable_batching=True, batch_token_budget=64)
    with serve(models, port=0, rest_api_port=0, config=config) as running:
        with Client(running.address, model="toy") as client, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.predict_arrays({"x": np.float32([1, 2])}), range(8)))
            with pytest.raises(CallError):
                client.predict_arrays({"x": np.float64([1])})
        with Client(running.address, model='no"pe\n') as client, pytest.raises(CallError):
            client.predict_arrays({"x": np.float32([1])})
        yield running


def value(text, name):
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.M)
    return float(found)


def test_names_and_types_are_those_of_tensorflow_serving(server):
    status, kind, text = page(server.rest_api_port)
    assert (status, kind) == (200, "text/plain")
    found = dict(re.findall(r"^# TYPE :tensorflow:serving:(\S+) (\w+)$", text, re.M))
    assert found == NAMES


def test_requests_are_counted(server):
    text = page(server.rest_api_port)[2]
    prefix = ":tensorflow:serving:"
    assert value(text, f'{prefix}request_count{{model_name="toy",status="OK"}}') == 8
    assert value(text, f'{prefix}request_count{{model_name="toy",status="INVALID_ARGUMENT"}}') == 1
    assert value(text, f'{prefix}request_count{{model_name="unknown",status="NOT_FOUND"}}') == 1
    labels = 'model_name="toy",API="Predict",entrypoint="GRPC"'
    assert value(text, f"{prefix}request_latency_count{{{labels}}}") == 9
    assert value(text, f'{prefix}request_latency_bucket{{{labels},le="+Inf"}}') == 9
    assert value(text, f'{prefix}runtime_latency_count{{model_name="toy",API="Predict",runtime="TF1"}}') == 8
    assert value(text, f'{prefix}request_example_count_total{{model="toy"}}') == 16
    assert "nope" not in text and "pe\\n" not in text


def test_buckets_are_those_of_tensorflow_serving(server):
    text = page(server.rest_api_port)[2]
    ends = re.findall(r'request_latency_bucket\{model_name="toy",API="Predict",entrypoint="GRPC",le="([^"]+)"\}', text)
    assert len(ends) == 34 and [float(end) for end in ends[:3]] == pytest.approx([10, 18, 32.4])


def test_batches_models_and_queues(server):
    text = page(server.rest_api_port)[2]
    assert 1 <= value(text, ":tensorflow:serving:batching_session:wrapped_run_count") <= 8
    pool = 'thread_pool_name="model_server_batch_threads"'
    assert value(text, f":tensorflow:serving:batching_session:queuing_latency_count{{{pool}}}") == 8
    assert value(text, 'tfllm_batch_rows_sum{model_name="toy"}') == 16
    assert value(text, 'tfllm_model_state{model_name="toy",version="2",state="AVAILABLE"}') == 1
    assert value(text, 'tfllm_model_state{model_name="toy",version="2",state="LOADING"}') == 0
    assert value(text, 'tfllm_warmup_state{model_name="toy",version="2",state="none"}') == 1
    assert value(text, 'tfllm_requests_in_flight{model_name="toy"}') == 0
    assert value(text, 'tfllm_queue_rows{model_name="toy"}') == 0
    assert value(text, 'tfllm_queue_seconds_count{model_name="toy"}') == 9
    assert value(text, 'tfllm_tokens_total{model_name="toy"}') == 16


def test_sizes_of_batches(models, tmp_path):
    """Requests of 1 and 3 rows, each in a batch of its own that is filled up to an allowed size."""
    file = tmp_path / "batching.config"
    config = ServerConfig(enable_batching=True, batching_parameters_file=str(file))
    file.write_text(
        "max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 4 batch_timeout_micros { value: 0 }"
    )
    with serve(models / "toy", port=0, config=config) as server, Client(server.address, model="toy") as client:
        assert not any(name in server.metrics.text() for name in WITH_BATCHES)
        for rows in (1, 3, 3):
            client.predict_arrays({"x": np.ones(rows, np.float32)})
        prefix = ":tensorflow:serving:batching_session:"
        end = time.monotonic() + 20
        while f"{prefix}processed_batch_size_count 3" not in (text := server.metrics.text()):
            assert time.monotonic() < end
    assert value(text, f'{prefix}padding_size_sum{{execution_batch_size="2"}}') == 1
    assert value(text, f'{prefix}padding_size_count{{execution_batch_size="4"}}') == 2
    assert value(text, f'{prefix}padding_size_sum{{execution_batch_size="4"}}') == 2
    assert value(text, f"{prefix}processed_batch_size_sum") == 10
    assert value(text, f"{prefix}input_batch_size_sum") == 7
    ends = re.findall(rf'^{prefix}input_batch_size_bucket{{le="([^"]+)"}}', text, re.M)
    assert [float(end) for end in ends] == [2**power for power in range(14)] + [float("inf")]


def test_there_are_none_unless_asked(models, tmp_path):
    assert metrics_path("") == ""
    file = tmp_path / "monitoring.config"
    file.write_text('prometheus_config { enable: false path: "/x" }')
    assert metrics_path(str(file)) == ""
    file.write_text('prometheus_config { enable: true path: "x" }')
    with pytest.raises(ConfigError, match="begins with '/'"):
        metrics_path(str(file))
    file.write_text('prometheus_config { enable: true path: "/my/metrics" }')
    config = ServerConfig(monitoring_config_file=str(file))
    with serve(models / "classic", port=0, rest_api_port=0, config=config) as server:
        assert page(server.rest_api_port, "/my/metrics")[0] == 200
        assert page(server.rest_api_port)[0] == 404
