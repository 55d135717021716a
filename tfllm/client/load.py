"""Load on a served model, and how long it takes: closed and open loops, any model of TensorFlow Serving.

A closed loop has so many callers, and each sends its next request when it has the answer: it says how much a server
can do. An open loop sends at a rate, whether answers come or not, as the users of a service do: it says how long they
wait. A closed loop that is held up does not send, and so leaves out just the requests that would have waited; its
`corrected` percentiles put them back. The open loop counts from the moment when a request was due.

Source: Gil Tene, "How NOT to Measure Latency" (2013); HdrHistogram's `recordValueWithExpectedInterval`.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfllm.client import calls
from tfllm.client.aio_transport import AsyncTransport
from tfllm.client.calls import Target
from tfllm.client.metadata import ModelMetadata, TensorSpec
from tfllm.errors import CallError, ConfigError, choices_hint
from tfllm.wire import messages, tensors

_MOST_UNDER_WAY = 5000
_LONGEST_MICROSECONDS = 3_600_000_000
_DIGITS = 3
_REQUESTS_KEPT = 256
_DEFAULT_SIGNATURE = "serving_default"

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True)
class LoadResult:
    """What one load showed. All times are in milliseconds.

    Attributes:
        loop: `"closed"` or `"open"`.
        load: how many callers, or how many requests a second were due.
        seconds: how long it was measured.
        requests: how many answers came.
        errors: how many requests failed.
        per_second: answers a second.
        rows_per_second: rows a second.
        percentiles: percentile -> time; of an open loop from when the request was due.
        corrected: the same, with the requests that a closed loop did not send while it was held up.
        longest: the longest time.
        first_error: what the first failure said, empty without one.
    """

    loop: str
    load: float
    seconds: float
    requests: int
    errors: int
    per_second: float
    rows_per_second: float
    percentiles: dict[str, float]
    corrected: dict[str, float]
    longest: float
    first_error: str = ""


def requests_for(target: Target, found: ModelMetadata, texts: Sequence[str], batch_size: int) -> list[bytes]:
    """Return requests that a model takes: texts in its string inputs, random numbers in the others.

    Args:
        target: what is called.
        found: the model's signatures.
        texts: the texts to take turns with.
        batch_size: how many rows a request has.

    Raises:
        ConfigError: the model has no such signature, or there are no texts.
    """
    name = target.signature or _DEFAULT_SIGNATURE
    if name not in found.signatures:
        raise ConfigError(f"Expected a signature of '{target.model}'. {choices_hint(name, found.signatures)}")
    if not texts:
        raise ConfigError("Expected texts. Received: none.")
    endless, random = itertools.cycle(texts), np.random.default_rng(0)
    count = min(_REQUESTS_KEPT, -(-len(texts) // batch_size)) if texts else 1
    specs = found.signatures[name].inputs
    return [
        calls.arrays_request(
            target, {key: _values(spec, endless, batch_size, random) for key, spec in specs.items()}, None
        )
        for _ in range(max(1, count))
    ]


def _values(spec: TensorSpec, texts: Iterator[str], batch_size: int, random: np.random.Generator) -> Any:
    shape = spec.shape if spec.shape is not None else (None,)
    sizes = tuple((batch_size if place == 0 else 1) if size is None else size for place, size in enumerate(shape))
    if spec.dtype == "string":
        values = np.empty(int(np.prod(sizes)), object)
        values[:] = list(itertools.islice(texts, values.size))
        return values.reshape(sizes)
    return random.random(sizes).astype(tensors.numpy_dtype(spec.dtype))


class Load:
    """Sends requests and keeps their times.

    Args:
        transport: what carries the calls.
        requests: the requests to take turns with.
        batch_size: how many rows each has.
        timeout: the seconds that a request may take.
    """

    def __init__(self, transport: AsyncTransport, requests: Sequence[bytes], batch_size: int, timeout: float) -> None:
        self._transport, self._requests = transport, itertools.cycle(requests)
        self._batch_size, self._timeout = batch_size, timeout
        self._times: list[float] = []
        self._errors = 0
        self._first_error = ""

    async def closed(self, callers: int, seconds: float, warm_up: float) -> LoadResult:
        """Measure so many callers, each of which sends the next request when it has the answer."""
        await self._call_until(callers, time.perf_counter() + warm_up)
        self._forget()
        start = time.perf_counter()
        await self._call_until(callers, start + seconds)
        return self._result("closed", callers, time.perf_counter() - start)

    async def open(self, rate: float, seconds: float, warm_up: float) -> LoadResult:
        """Measure requests at a rate; a time counts from when the request was due."""
        await self._send_at(rate, warm_up)
        self._forget()
        start = time.perf_counter()
        await self._send_at(rate, seconds)
        return self._result("open", rate, time.perf_counter() - start)

    async def _call_until(self, callers: int, end: float) -> None:
        async def caller() -> None:
            while (now := time.perf_counter()) < end:
                await self._call(now)

        await asyncio.gather(*(caller() for _ in range(callers)))

    async def _send_at(self, rate: float, seconds: float) -> None:
        start, under_way = time.perf_counter(), set[asyncio.Task[None]]()
        for number in range(int(rate * seconds)):
            due = start + number / rate
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            elif not number % 10:
                await asyncio.sleep(0)  # behind time: answers must be taken all the same
            if len(under_way) >= _MOST_UNDER_WAY:
                self._failed(f"{_MOST_UNDER_WAY} requests under way: not sent")
                continue
            task = asyncio.ensure_future(self._call(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def _call(self, due: float) -> None:
        try:
            await self._transport.call(messages.PREDICT, next(self._requests), self._timeout)
        except CallError as error:
            self._failed(str(error))
        else:
            self._times.append(time.perf_counter() - due)

    def _failed(self, why: str) -> None:
        self._errors += 1
        self._first_error = self._first_error or why

    def _forget(self) -> None:
        self._times, self._errors, self._first_error = [], 0, ""

    def _result(self, loop: str, load: float, seconds: float) -> LoadResult:
        times = sorted(self._times)
        count = len(times)
        usual = times[count // 2] if times else 0.0
        plain = _percentiles(times, 0.0)
        return LoadResult(
            loop=loop,
            load=load,
            seconds=seconds,
            requests=count,
            errors=self._errors,
            per_second=count / seconds,
            rows_per_second=count * self._batch_size / seconds,
            percentiles=plain,
            corrected=plain if loop == "open" else _percentiles(times, usual),
            longest=1000 * times[-1] if times else 0.0,
            first_error=self._first_error,
        )


def _percentiles(times: Sequence[float], interval: float) -> dict[str, float]:
    """Return percentile -> milliseconds; with an interval, those with the requests that were not sent."""
    histogram = _histogram()(1, _LONGEST_MICROSECONDS, _DIGITS)
    for seconds in times:
        histogram.record_corrected_value(int(seconds * 1e6), int(interval * 1e6))
    return {f"p{percent:g}": histogram.get_value_at_percentile(percent) / 1000 for percent in PERCENTILES}


def _histogram() -> Callable[[int, int, int], Any]:
    try:
        from hdrh.histogram import HdrHistogram
    except ModuleNotFoundError as error:
        raise ImportError(
            "Load tests need the package 'hdrhistogram', which is not installed. "
            "Install it with: pip install 'tfllm[bench]'",
            name="hdrh",
        ) from error
    made: Callable[[int, int, int], Any] = HdrHistogram
    return made
