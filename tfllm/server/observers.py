"""What happened to a request, and who is told: the one seam for metrics, audit, traces and request logs.

A request has one `RequestEvent` from its arrival on. Whoever works on it fills in what it knows (`current_event`), and
when it is answered each observer gets the event.
"""

import contextvars
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from tfllm.errors import CallError, Cancelled, Timeout
from tfllm.server.tokens import Caller

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RequestEvent:
    """One request, refused ones too.

    Attributes:
        method: `Predict`, `Classify`, `Regress`, `MultiInference`, `GetModelMetadata`, `GetModelStatus` or
            `HandleReloadConfigRequest`; of a REST request that is none of these, `""`.
        entrypoint: `GRPC` or `REST`.
        caller: who asked, as the server knows it: a token's name, else the address without the port.
        model: the model's name as it was asked for, which may be unknown.
        version: the version that answered.
        signature: the signature that ran.
        rows: how many rows the graph was given.
        tokens: how many tokens they have, as batching estimates it; 0 without token-budget batching.
        batch_rows: how many rows the graph ran at once, with those of other requests; 0 if it did not run.
        request_bytes: the size of the request as it came.
        response_bytes: the size of the answer; 0 of a refused one.
        started: when it arrived, in seconds since 1970.
        seconds: the time from arrival to answer.
        queue_seconds: the part of it in which the request waited, for a worker and for its batch.
        run_seconds: the part of it in which the graph ran.
        status: the gRPC status name, `OK` or another.
        message: what a refused request was told.
        metadata: what came beside the request: gRPC metadata or HTTP headers, names in lower case.
        request: the request: the message of a gRPC call, the body of a REST one.
        response: the answer, likewise.
        inputs: input alias -> array, if a signature was run by Predict.
        outputs: output alias -> array, likewise.
        rights: what the caller may do; None until it is known.
        deadline: when the caller stops waiting, on the clock of `time.monotonic`.
        arrived: when it arrived, on that clock.
        given_up: says whether the caller has gone.
    """

    method: str
    entrypoint: str
    caller: str = ""
    model: str = ""
    version: int | None = None
    signature: str = ""
    rows: int = 0
    tokens: int = 0
    batch_rows: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    started: float = field(default_factory=time.time)
    seconds: float = 0.0
    queue_seconds: float = 0.0
    run_seconds: float = 0.0
    status: str = "OK"
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    request: Any = field(default=None, repr=False)  # no text of a request may reach a log by accident
    response: Any = field(default=None, repr=False)
    inputs: Mapping[str, Any] | None = field(default=None, repr=False)
    outputs: Mapping[str, Any] | None = field(default=None, repr=False)
    rights: Caller | None = field(default=None, repr=False)
    deadline: float | None = None
    arrived: float = field(default_factory=time.monotonic)
    given_up: Callable[[], bool] = field(default=lambda: False, repr=False)

    def use_model(self, model: str) -> None:
        """Note which model the request is for.

        Raises:
            PermissionDenied: the caller may not use it.
        """
        self.model = model
        if self.rights is not None:
            self.rights.require(model)

    def refusal(self) -> CallError | None:
        """Return why the request need not be worked on any more, if so."""
        if self.deadline is not None and self.deadline <= time.monotonic():
            return Timeout("Deadline Exceeded")
        return Cancelled("The caller gave the request up.") if self.given_up() else None


class Observer(Protocol):
    """Is told of every request that was answered."""

    def on_request(self, event: RequestEvent) -> None:
        """Take note of a request.

        It is called before the answer leaves, by many threads at once, so it has to be quick: what takes long belongs
        into a queue. What it raises is logged and changes nothing.
        """


@runtime_checkable
class RecordObserver(Protocol):
    """Is told of every request that was to be recorded in a request log."""

    def on_record(self, model: str, status: str) -> None:
        """Take note of a record: of its request's model, and `OK` or the status of what kept it from being written."""


@runtime_checkable
class RecordSource(Protocol):
    """Records requests, and says what became of them."""

    def report_to(self, observer: RecordObserver) -> None:
        """Tell an observer of each record from now on."""


class Observers:
    """All that observe a server. Those that record requests report to those that count records.

    Args:
        observers: the first of them.
    """

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers: list[Observer] = []
        for observer in observers:
            self.add(observer)

    def add(self, observer: Observer) -> None:
        """Add an observer."""
        for other in self._observers:
            _introduce(observer, other)
            _introduce(other, observer)
        self._observers.append(observer)

    def tell(self, event: RequestEvent) -> None:
        """Finish an event and give it to each observer."""
        event.seconds = time.monotonic() - event.arrived
        for observer in self._observers:
            try:
                observer.on_request(event)
            except Exception:
                logger.exception("%s failed", type(observer).__name__)


def _introduce(source: Observer, observer: Observer) -> None:
    if isinstance(source, RecordSource) and isinstance(observer, RecordObserver):
        source.report_to(observer)


_CURRENT: contextvars.ContextVar[RequestEvent | None] = contextvars.ContextVar("request", default=None)


def current_event() -> RequestEvent:
    """Return the event of the request that this thread works on; outside of a request, one that nobody is told of."""
    return _CURRENT.get() or RequestEvent("", "")


def set_event(event: RequestEvent | None) -> None:
    """Say which request this thread works on now."""
    _CURRENT.set(event)
