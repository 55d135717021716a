"""Batching parameters for a limit of latency, found by measuring a server that runs.

A request that meets a busy server waits for the batch that runs and then for its own. So, with batches of one size, it
takes at most two times what a batch takes, and the best size is the one with the most rows a second among those whose
double is within the limit. What a batch takes is measured by requests of so many rows, as many at once as there are
batch threads; the server need not be started again for each size.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tfllm.client.load import LoadResult
from tfllm.errors import ConfigError

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
THREADS = (1, 2, 4)

_BATCHES = 2  # that a request waits for: the one that runs, and its own
_WAIT_SHARE = 0.1  # of what one row takes: so much may a lone request wait for others
_MOST_WAIT_MICROS = 1000
_GAIN = 1.02  # more rows a batch have to bring so many times the rows a second, or they only cost latency


@dataclass(frozen=True)
class Trial:
    """What one size of batch showed.

    Attributes:
        rows: rows in a batch.
        threads: how many batches ran at once.
        p99: the time that 99 % of the batches were done in, in milliseconds.
        rows_per_second: rows a second, of all of them.
        fits: whether two times that is within the limit, and nothing failed.
        error: what the first failure said, empty without one.
    """

    rows: int
    threads: int
    p99: float
    rows_per_second: float
    fits: bool
    error: str = ""


@dataclass(frozen=True)
class Tuning:
    """The trials, and what follows from them, under the names of TensorFlow Serving's BatchingParameters.

    Attributes:
        trials: in the order of measuring.
        max_batch_size: rows in a batch.
        num_batch_threads: how many batches run at once.
        batch_timeout_micros: how long a batch waits for more rows.
        max_enqueued_batches: how many full batches may wait, so that the last of them is done within the limit.
    """

    trials: Sequence[Trial]
    max_batch_size: int
    num_batch_threads: int
    batch_timeout_micros: int
    max_enqueued_batches: int


async def tune(
    measure: Callable[[int, int], Awaitable[LoadResult]],
    limit: float,
    *,
    sizes: Sequence[int] = SIZES,
    threads: Sequence[int] = THREADS,
) -> Tuning:
    """Find the batching parameters with the most rows a second whose requests are done within a limit.

    Args:
        measure: measures requests of so many rows, so many at once.
        limit: the milliseconds that 99 % of the requests may take, waiting included.
        sizes: rows in a batch to try, growing; the rest is left out after the first that does not fit.
        threads: how many batches at once to try.

    Raises:
        ConfigError: not even the smallest batch is within the limit.
    """
    trials = []
    for count in threads:
        for rows in sizes:
            trials.append(_trial(await measure(rows, count), rows, count, limit))
            if not trials[-1].fits:
                break
    fitting = [trial for trial in trials if trial.fits]
    if not fitting:
        first = trials[0]
        reason = first.error or f"{_BATCHES} batches of {first.rows} take {_BATCHES * first.p99:.0f} ms."
        raise ConfigError(f"Expected a limit that the model can keep. Received: {limit:g} ms. {reason}")
    return _conclude(trials, _best(fitting), limit)


def _trial(result: LoadResult, rows: int, threads: int, limit: float) -> Trial:
    p99 = result.percentiles["p99"]
    fits = result.requests > 0 and not result.errors and _BATCHES * p99 <= limit
    return Trial(rows, threads, p99, result.rows_per_second, fits, result.first_error)


def _best(trials: Sequence[Trial]) -> Trial:
    best = trials[0]
    for trial in trials[1:]:
        if trial.rows_per_second > best.rows_per_second * _GAIN:
            best = trial
    return best


def _conclude(trials: Sequence[Trial], best: Trial, limit: float) -> Tuning:
    alone = min(trial.p99 for trial in trials if trial.fits)
    waiting = int(best.threads * (limit / best.p99 - _BATCHES))
    return Tuning(
        trials=trials,
        max_batch_size=best.rows,
        num_batch_threads=best.threads,
        batch_timeout_micros=min(_MOST_WAIT_MICROS, int(_WAIT_SHARE * alone * 1000)),
        max_enqueued_batches=max(1, waiting),
    )
