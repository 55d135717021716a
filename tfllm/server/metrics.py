"""Metrics in Prometheus' text form: TensorFlow Serving's, under its names, and those that it lacks.

Its times are in microseconds and its buckets grow by 1.8, which is coarse; ours are in seconds, in finer steps.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

from tfllm.errors import ConfigError
from tfllm.server.batching import BatchEvent
from tfllm.server.engine import Engine
from tfllm.server.observers import RequestEvent
from tfllm.server.text_protos import read_text_proto
from tfllm.server.versions import State
from tfllm.server.warmup import WarmupEvent

DEFAULT_PATH = "/monitoring/prometheus/metrics"
_TFS = ":tensorflow:serving:"
_MODEL_CALLS = ("Predict", "Classify", "Regress", "MultiInference")
_REFUSALS = ("RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED", "DEADLINE_EXCEEDED", "CANCELLED")
_SECONDS = [0.0005 * 1.4**step for step in range(30)]  # to 8.6 s
_ROWS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
_BATCHES = f"{_TFS}batching_session:"
_WITH_BATCHES = tuple(_BATCHES + name for name in ("padding_size", "input_batch_size", "processed_batch_size"))
"""Shown once a batch has run: TensorFlow Serving registers them then."""
_EMPTY = {"batching:mixed_priority_batching_policy": "gauge", "mlmd_map": "gauge"}


def _grow(first: float, factor: float, count: int) -> list[float]:
    return [first * factor**step for step in range(count)]


class Metrics(Collector):
    """Counts what a server does. It is an observer of requests, and is told of batches, records and warm-ups.

    Args:
        engine: the models, for their states.
        waiting: says how many rows wait for each model.
    """

    def __init__(self, engine: Engine, waiting: Callable[[], Mapping[str, int]]) -> None:
        self._engine = engine
        self._waiting = waiting
        self._warmups: dict[tuple[str, int], WarmupEvent] = {}
        self.registry = CollectorRegistry(auto_describe=False)
        micros = _grow(10, 1.8, 33)
        self._requests = self._counter(f"{_TFS}request_count", "model_name", "status")
        self._latency = self._histogram(f"{_TFS}request_latency", micros, "model_name", "API", "entrypoint")
        self._runtime = self._histogram(f"{_TFS}runtime_latency", micros, "model_name", "API", "runtime")
        self._examples = self._histogram(f"{_TFS}request_example_counts", _grow(1, 2, 15), "model")
        self._examples_total = self._counter(f"{_TFS}request_example_count_total", "model")
        self._queuing = self._histogram(f"{_BATCHES}queuing_latency", _grow(100, 1.2, 52), "thread_pool_name")
        self._wrapped = self._counter(f"{_BATCHES}wrapped_run_count")
        padding, given, processed = _WITH_BATCHES
        self._padding_sizes = self._histogram(padding, _grow(1, 2, 14), "execution_batch_size")
        self._input_sizes = self._histogram(given, _grow(1, 2, 14))
        self._processed_sizes = self._histogram(processed, _grow(1, 2, 14))
        self._has_batches = False
        self._warmup_latency = self._histogram(f"{_TFS}model_warmup_latency", micros, "model_path", "status")
        self._warmup_records = self._counter(f"{_TFS}model_warmup_records_read", "model_path")
        self._records = self._counter(f"{_TFS}request_log_count", "model_name", "status_code")
        self._seconds = self._histogram("tfllm_request_seconds", _SECONDS, "model_name", "method")
        self._queue_seconds = self._histogram("tfllm_queue_seconds", _SECONDS, "model_name")
        self._run_seconds = self._histogram("tfllm_run_seconds", _SECONDS, "model_name")
        self._refused = self._counter("tfllm_requests_refused_total", "model_name", "status")
        self._batch_rows = self._histogram("tfllm_batch_rows", _ROWS, "model_name")
        self._batch_fill = self._counter("tfllm_batch_fill_rows_total", "model_name")
        self._tokens = self._counter("tfllm_tokens_total", "model_name")
        self._padding = self._counter("tfllm_padding_tokens_total", "model_name")
        self._bytes = self._counter("tfllm_request_bytes_total", "model_name", "direction")
        self.registry.register(self)

    def on_request(self, event: RequestEvent) -> None:
        """Count a request to a model; the names of models that are not there are not kept."""
        if event.method not in _MODEL_CALLS:
            return
        model = event.model if event.model in self._engine.models else "unknown"
        self._requests.labels(model, event.status).inc()
        self._latency.labels(model, event.method, event.entrypoint).observe(event.seconds * 1e6)
        self._seconds.labels(model, event.method).observe(event.seconds)
        self._queue_seconds.labels(model).observe(event.queue_seconds)
        self._bytes.labels(model, "in").inc(event.request_bytes)
        self._bytes.labels(model, "out").inc(event.response_bytes)
        if event.run_seconds:
            self._runtime.labels(model, event.method, "TF1").observe(event.run_seconds * 1e6)
            self._run_seconds.labels(model).observe(event.run_seconds)
            self._examples.labels(model).observe(event.rows)
            self._examples_total.labels(model).inc(event.rows)
            self._input_sizes.observe(event.rows)
        if event.status in _REFUSALS:
            self._refused.labels(model, event.status).inc()

    def on_batch(self, event: BatchEvent) -> None:
        """Count a batch."""
        self._has_batches = True
        self._wrapped.inc()
        self._padding_sizes.labels(str(event.run_rows)).observe(event.run_rows - event.rows)
        self._processed_sizes.observe(event.run_rows)
        queuing = self._queuing.labels(event.thread_pool)
        for seconds in event.waited:
            queuing.observe(seconds * 1e6)
        self._batch_rows.labels(event.model).observe(event.rows)
        self._batch_fill.labels(event.model).inc(event.run_rows - event.rows)
        self._tokens.labels(event.model).inc(event.tokens)
        self._padding.labels(event.model).inc(max(0, event.run_tokens - event.tokens))

    def on_record(self, model: str, status: str) -> None:
        """Count a request that was to be recorded in the request log."""
        self._records.labels(model, status).inc()

    def on_warmup(self, event: WarmupEvent) -> None:
        """Note how far a warm-up is."""
        self._warmups[event.source.name, event.source.version] = event
        if event.state in ("done", "failed"):
            path = str(event.source.path)
            self._warmup_latency.labels(path, event.status).observe(event.seconds * 1e6)
            self._warmup_records.labels(path).inc(event.records)

    def collect(self) -> Iterator[Any]:
        """Return what is read off the models when somebody asks."""
        registry = CollectorRegistry()
        states = Gauge("tfllm_model_state", "", ["model_name", "version", "state"], registry=registry)
        warmups = Gauge("tfllm_warmup_state", "", ["model_name", "version", "state"], registry=registry)
        flying = Gauge("tfllm_requests_in_flight", "", ["model_name"], registry=registry)
        rows = Gauge("tfllm_queue_rows", "", ["model_name"], registry=registry)
        for model in self._engine.models:
            flying.labels(model).set(sum(item.users for item in self._engine.versions(model)))
            rows.labels(model).set(self._waiting().get(model, 0))
            for item in self._engine.versions(model):
                version = str(item.source.version)
                for state in State:
                    states.labels(model, version, state.name).set(item.state is state)
                warmup = self._warmups.get((model, item.source.version))
                if warmup is not None:
                    warmups.labels(model, version, warmup.state).set(1)
        return registry.collect()

    def text(self) -> str:
        """Return all metrics in Prometheus' text form."""
        lines = [f"# TYPE {_TFS}{name} {kind}" for name, kind in _EMPTY.items()]
        for metric in self.registry.collect():
            if metric.name in _WITH_BATCHES and not self._has_batches:
                continue
            plain = (
                metric.type == "counter" and metric.name.startswith(_TFS) and not metric.name.endswith("example_count")
            )
            ending = "_total" if metric.type == "counter" and not plain else ""
            lines.append(f"# TYPE {metric.name}{ending} {metric.type}")
            for sample in metric.samples:
                if not sample.name.endswith("_created"):
                    name = sample.name.removesuffix("_total") if plain else sample.name
                    lines.append(f"{name}{_labels(sample.labels)} {_number(sample.value)}")
        return "\n".join(lines) + "\n"

    def _counter(self, name: str, *labels: str) -> Any:
        return Counter(name, "", labels, registry=self.registry)

    def _histogram(self, name: str, buckets: list[float], *labels: str) -> Any:
        return Histogram(name, "", labels, buckets=buckets, registry=self.registry)


def metrics_path(monitoring_config_file: str) -> str:
    """Return where the metrics are, as TensorFlow Serving's monitoring config says; empty for nowhere.

    Raises:
        ConfigError: the file cannot be used.
    """
    if not monitoring_config_file:
        return ""
    config = read_text_proto(monitoring_config_file, "MonitoringConfig").prometheus_config
    path: str = (config.path or DEFAULT_PATH) if config.enable else ""
    if path and not path.startswith("/"):
        raise ConfigError(f"Expected a path that begins with '/'. Received: '{path}' in '{monitoring_config_file}'.")
    return path


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
