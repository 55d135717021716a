"""OpenTelemetry traces: a span for each request, with its waiting and its computing in it.

The caller's trace goes on: its W3C `traceparent` is read from gRPC metadata and HTTP headers. Spans are made when the
request is answered, from the times of its event, so they cost nothing while it runs. No text is in them.
"""

from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tfllm._version import __version__
from tfllm.errors import ConfigError
from tfllm.server.observers import RequestEvent

_SERVICES = {"GetModelStatus": "ModelService", "HandleReloadConfigRequest": "ModelService"}
_GRPC_CODES = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}


def make_provider(endpoint: str, sample: float) -> TracerProvider:
    """Return a provider that sends spans by OTLP over gRPC; further settings are OpenTelemetry's own variables.

    Args:
        endpoint: the collector, such as `http://localhost:4317`.
        sample: the share of traces to keep, from 0 to 1; a caller that has decided already is followed.

    Raises:
        ConfigError: the share is no share.
    """
    if not 0 <= sample <= 1:
        raise ConfigError(f"Expected trace_sample from 0 to 1. Received: trace_sample={sample}.")
    given = Resource.create()  # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
    named = not str(given.attributes.get("service.name", "")).startswith("unknown_service")
    own = {"service.version": __version__, **({} if named else {"service.name": "tfllm-serving"})}
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(sample)),
        resource=given.merge(Resource(own)),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


class Tracing:
    """Observes requests and makes spans of them.

    Args:
        provider: where the spans go; it is shut down with the server.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("tfllm.server", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def on_request(self, event: RequestEvent) -> None:
        """Make the spans of a request."""
        start = int(event.started * 1e9)
        span = self._tracer.start_span(
            _name(event),
            context=self._propagator.extract(event.metadata),
            kind=SpanKind.SERVER,
            attributes=_attributes(event),
            start_time=start,
        )
        if span.is_recording():
            end = start + int(event.seconds * 1e9)
            if event.status != "OK":
                span.set_status(Status(StatusCode.ERROR, event.status))  # without the message: it may quote a text
            inside = set_span_in_context(span)
            computed = start + int((event.queue_seconds + event.run_seconds) * 1e9)
            queued = start + int(event.queue_seconds * 1e9)
            for name, begin, finish in (("queue", start, queued), ("compute", queued, min(end, computed))):
                if finish > begin:
                    self._tracer.start_span(name, context=inside, start_time=begin).end(finish)
            span.end(end)

    def close(self) -> None:
        """Send what has not been sent, for five seconds at most."""
        self._provider.force_flush(5000)
        self._provider.shutdown()


def _name(event: RequestEvent) -> str:
    return f"{_service(event)}/{event.method}" if event.entrypoint == "GRPC" else f"REST {event.method or 'unknown'}"


def _service(event: RequestEvent) -> str:
    return f"tensorflow.serving.{_SERVICES.get(event.method, 'PredictionService')}"


def _attributes(event: RequestEvent) -> Mapping[str, str | int | float]:
    found: dict[str, str | int | float] = {
        "tfllm.model": event.model,
        "tfllm.signature": event.signature,
        "tfllm.rows": event.rows,
        "tfllm.tokens": event.tokens,
        "tfllm.batch_rows": event.batch_rows,
        "tfllm.request_bytes": event.request_bytes,
        "tfllm.response_bytes": event.response_bytes,
        "tfllm.status": event.status,
        "client.address": event.caller,
    }
    if event.version is not None:
        found["tfllm.version"] = event.version
    if event.entrypoint == "GRPC":
        found |= {
            "rpc.system": "grpc",
            "rpc.service": _service(event),
            "rpc.method": event.method,
            "rpc.grpc.status_code": _GRPC_CODES.get(event.status, 2),
        }
    return found
