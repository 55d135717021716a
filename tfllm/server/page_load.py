"""The load of the last minutes, for the page: requests, errors and latency by model, in steps of some seconds."""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from tfllm.server.observers import RequestEvent

STEP_SECONDS = 2
STEPS = 150
_ASKED = ("Predict", "Classify", "Regress", "MultiInference")
_SMALLEST = 1e-4  # seconds; the upper end of the first class of latencies
_GROWTH = 1.15  # of the classes, so a quantile is right to some 7 %


class Step:
    """What happened in one step; not safe for threads."""

    __slots__ = ("errors", "latencies", "queue_seconds", "requests", "rows", "run_seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.rows = 0
        self.queue_seconds = 0.0
        self.run_seconds = 0.0
        self.latencies: dict[int, int] = {}  # class -> count, of requests that were answered

    def add(self, event: RequestEvent) -> None:
        """Count a request."""
        self.requests += 1
        if event.status != "OK":
            self.errors += 1
            return
        self.rows += event.rows
        self.queue_seconds += event.queue_seconds
        self.run_seconds += event.run_seconds
        place = max(0, math.ceil(math.log(max(event.seconds, 1e-9) / _SMALLEST) / math.log(_GROWTH)))
        self.latencies[place] = self.latencies.get(place, 0) + 1


class LoadHistory:
    """Observes the requests that run a model, and remembers the last five minutes.

    Args:
        known: returns the names of the models; a request for another is counted without its name, so that made-up
            names take no memory.
        clock: returns the time in seconds.
    """

    def __init__(self, known: Callable[[], Collection[str]], clock: Callable[[], float] = time.time) -> None:
        self._known = known
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: dict[int, dict[str, Step]] = {}  # number of the step -> model -> what happened

    def on_request(self, event: RequestEvent) -> None:
        """Count a request."""
        if event.method not in _ASKED:
            return
        now = int(self._clock() // STEP_SECONDS)
        model = event.model if event.model in self._known() else ""
        with self._lock:
            if now not in self._steps:
                self._steps = {number: models for number, models in self._steps.items() if number > now - STEPS}
                self._steps[now] = {}
            models = self._steps[now]
            if model not in models:
                models[model] = Step()
            models[model].add(event)

    def describe(self, seen: Collection[str]) -> dict[str, Any]:
        """Return the series of some models and of all these together, for JSON.

        Args:
            seen: the names of the models.

        Returns:
            `step` in seconds, `end` in seconds since 1970, and under `models` a name -> `requests` and `errors` a
            second, `p50` and `p99` in seconds and `rows` a second, oldest first; the empty name is all together. The
            step under way is left out.
        """
        now = int(self._clock() // STEP_SECONDS)
        with self._lock:
            steps = [self._steps.get(number, {}) for number in range(now - STEPS, now)]
            names = sorted({name for models in steps for name in models if name in seen})
            series = {name: [_Figures(_some(models.get(name))) for models in steps] for name in names}
            series[""] = [_Figures(step for name, step in models.items() if name in (*seen, "")) for models in steps]
        return {
            "step": STEP_SECONDS,
            "end": now * STEP_SECONDS,
            "models": {name: _columns(figures) for name, figures in series.items()},
        }


class _Figures:
    """The figures of one step, of some models together."""

    def __init__(self, steps: Iterable[Step]) -> None:
        parts = list(steps)
        self.requests = sum(part.requests for part in parts) / STEP_SECONDS
        self.errors = sum(part.errors for part in parts) / STEP_SECONDS
        self.rows = sum(part.rows for part in parts) / STEP_SECONDS
        latencies: dict[int, int] = {}
        for part in parts:
            for place, count in part.latencies.items():
                latencies[place] = latencies.get(place, 0) + count
        answered = sum(latencies.values())
        self.p50 = _quantile(latencies, answered, 0.5)
        self.p99 = _quantile(latencies, answered, 0.99)
        self.queue = sum(part.queue_seconds for part in parts) / answered if answered else None
        self.run = sum(part.run_seconds for part in parts) / answered if answered else None


def _some(step: Step | None) -> list[Step]:
    return [] if step is None else [step]


def _columns(figures: list[_Figures]) -> dict[str, list[float | None]]:
    names = ("requests", "errors", "rows", "p50", "p99", "queue", "run")
    return {name: [_rounded(getattr(figure, name)) for figure in figures] for name in names}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _quantile(latencies: dict[int, int], answered: int, share: float) -> float | None:
    """Return the middle of the class, in ratio, in which a quantile lies."""
    left = share * answered
    for place in sorted(latencies):
        left -= latencies[place]
        if left <= 0:
            return float(_SMALLEST * _GROWTH ** (place - 0.5))
    return None
