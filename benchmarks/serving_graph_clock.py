"""The clock of both sides of `serving_graph.py`; needs nothing but Python."""

import statistics
import time
from collections.abc import Callable


def seconds_of(call: Callable[[list[str]], object], batches: list[list[str]], repeats: int) -> float:
    """Seconds of all batches: the median over the repeats, after one that is not counted."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for texts in batches:
            call(texts)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])
