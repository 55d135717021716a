"""The clock of both sides of `serving_graph.py`; needs nothing but Python."""

import statistics
import time
from collections.abc import Callable


def seconds_of(
    call: Callable[[list[str]], object], batches: list[list[str]], repeats: int, limit: float
) -> list[float]:
    """Seconds of each batch: its median over the repeats, after one that is not counted.

    Repeats end at the limit of seconds, but for the first that counts.
    """
    taken: list[list[float]] = []
    end = time.perf_counter() + limit
    for number in range(repeats + 1):
        if number > 1 and time.perf_counter() > end:
            break
        taken.append([_seconds(call, texts) for texts in batches])
    return [statistics.median(times) for times in zip(*taken[1:], strict=True)]


def _seconds(call: Callable[[list[str]], object], texts: list[str]) -> float:
    start = time.perf_counter()
    call(texts)
    return time.perf_counter() - start
