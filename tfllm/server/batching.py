"""Requests of many callers, run together: bounded queues, fair between models, and batches by rows or by tokens.

Each model version has a queue for each set of tensors that are asked for. Batch threads take turns between the models.
A batch begins with the request that has waited longest, so nobody starves; with a token budget the others are those
nearest to it in length, as padding costs as much as text: once a batch is worth its while, what would add much padding
waits for the next one.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tfllm.errors import CallError, Cancelled, InvalidInput, Overloaded, ServerError, Timeout
from tfllm.server.batch_arrays import Array, batch_rows, inner_shapes, merge, row_tokens, split
from tfllm.server.batching_config import BatchingConfig
from tfllm.server.observers import RequestEvent

logger = logging.getLogger(__name__)
_WORTHWHILE = 4  # a batch of this part of its budget is large enough to be picky about padding
_PADDED = 1.2  # times its tokens
Run = Callable[[list[Array]], list[Array]]


@dataclass(slots=True)
class BatchEvent:
    """One batch that was run.

    Attributes:
        model: the model's name.
        thread_pool: the name of the batch threads.
        rows: how many rows of requests it had.
        run_rows: with those that it was filled up with.
        tokens: how many tokens the rows have; 0 without a token budget.
        run_tokens: with padding.
        waited: the seconds that each request had waited.
        seconds: how long it ran.
    """

    model: str
    thread_pool: str
    rows: int
    run_rows: int
    tokens: int
    run_tokens: int
    waited: list[float]
    seconds: float = 0.0


class BatchObserver(Protocol):
    """Is told of every batch."""

    def on_batch(self, event: BatchEvent) -> None:
        """Take note of a batch; called by its thread."""


class Task:
    """A request, or a part of one, that waits for its batch.

    Args:
        inputs: its arrays, in the order of the queue's feeds.
        rows: how many rows it has.
        tokens: the tokens of its longest row; 1 without a token budget.
        event: the request.
        shapes: what it has to have in common with the others of a batch.
    """

    __slots__ = ("_done", "event", "inputs", "result", "rows", "ran", "run_rows", "shapes", "since", "tokens", "took")

    def __init__(
        self, inputs: Sequence[Array], rows: int, tokens: int, event: RequestEvent, shapes: tuple[object, ...]
    ) -> None:
        self.inputs = inputs
        self.rows = rows
        self.tokens = tokens
        self.event = event
        self.shapes = shapes
        self.since = self.ran = time.monotonic()
        self.took = 0.0
        self.run_rows = 0
        self.result: list[Array] | CallError | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def finish(self, result: list[Array] | CallError) -> None:
        """Give the result to the thread that waits for it."""
        self.result = result
        self._done.release()

    def wait(self) -> list[Array]:
        """Return the outputs.

        Raises:
            Timeout: the deadline passed before.
            CallError: the batch failed.
        """
        deadline = self.event.deadline
        if not self._done.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
            raise Timeout("Deadline Exceeded")
        if isinstance(self.result, list):
            return self.result
        raise self.result or Cancelled("The server stopped.")


@dataclass(eq=False)
class BatchQueue:
    """The tasks that may share batches: of one model version, with the same inputs and outputs.

    Attributes:
        model: the model's name.
        config: when a batch is run, and what may be in it.
        run: runs arrays, in the order of the tasks'.
        most_tokens: the length that the model cuts texts at, if known.
        tasks: those that wait, oldest first.
        rows: how many rows wait.
        tokens: how many tokens wait.
    """

    model: str
    config: BatchingConfig
    run: Run
    most_tokens: int | None = None
    tasks: list[Task] = field(default_factory=list)
    rows: int = 0
    tokens: int = 0

    def tasks_of(self, inputs: Sequence[Array], event: RequestEvent) -> list[Task]:
        """Return the tasks of a request: one, or several if it is spread over batches.

        Raises:
            InvalidInput: it cannot be part of a batch.
        """
        rows, most = batch_rows(inputs), self.config.max_batch_size
        if rows > most:
            raise InvalidInput(f"Task size {rows} is larger than maximum input batch size {most}")
        event.rows = rows
        shapes = inner_shapes(inputs, padded=self.config.pad_variable_length_inputs)
        step = self.config.rows_at_once if self.config.enable_large_batch_splitting else max(rows, 1)
        starts = range(0, max(rows, 1), step)
        parts = [[array[start : start + step] for array in inputs] for start in starts] if rows > step else [inputs]
        budget = self.config.token_budget
        tasks = []
        for part in parts:
            tokens = row_tokens(part, self.most_tokens) if budget else 1
            tasks.append(Task(part, len(part[0]) if part else 0, tokens, event, shapes))
        event.tokens = sum(task.rows * task.tokens for task in tasks) if budget else 0
        return tasks

    def add(self, tasks: Sequence[Task]) -> None:
        """Add the tasks of a request.

        Raises:
            Overloaded: there is no room.
        """
        room = self.config.max_enqueued_batches * self.config.rows_at_once
        rows = sum(task.rows for task in tasks)
        if self.rows + rows > room:
            raise Overloaded(
                f"The batch scheduling queue to which this task was submitted is full; {self.rows} rows of at most "
                f"{room} wait for model {self.model}, no room for {rows} more"
            )
        for task in tasks:
            self.tasks.append(task)
            self.rows += task.rows
            self.tokens += task.rows * task.tokens

    def seconds_until_ready(self, now: float) -> float:
        """Return how long until a batch may run; 0 if it may now."""
        budget = self.config.token_budget
        if self.rows >= self.config.rows_at_once or (budget and self.tokens >= budget):
            return 0.0
        return max(0.0, self.tasks[0].since + self.config.batch_timeout_micros / 1e6 - now)

    def take(self) -> list[Task]:
        """Remove and return the tasks of the next batch: the oldest, and those that fit to it best."""
        first = self.tasks[0]
        others = [task for task in self.tasks[1:] if task.shapes == first.shapes]
        chosen = self._nearest(first, others) if self.config.token_budget else self._oldest(first, others)
        kept = set(map(id, chosen))
        self.tasks = [task for task in self.tasks if id(task) not in kept]
        self.rows -= sum(task.rows for task in chosen)
        self.tokens -= sum(task.rows * task.tokens for task in chosen)
        return chosen

    def _oldest(self, first: Task, others: Sequence[Task]) -> list[Task]:
        chosen, rows = [first], first.rows
        for task in others:
            if rows + task.rows > self.config.rows_at_once:
                break
            chosen.append(task)
            rows += task.rows
        return chosen

    def _nearest(self, first: Task, others: Sequence[Task]) -> list[Task]:
        budget = self.config.token_budget
        chosen, rows, longest, tokens = [first], first.rows, first.tokens, first.rows * first.tokens
        for task in sorted(others, key=lambda task: abs(task.tokens - first.tokens)):
            longest = max(longest, task.tokens)
            rows += task.rows
            tokens += task.rows * task.tokens
            padded = rows * longest
            if rows > self.config.rows_at_once or padded > budget:
                break
            if padded > budget / _WORTHWHILE and padded > tokens * _PADDED:
                break
            chosen.append(task)
        return chosen


def run_batch(queue: BatchQueue, tasks: Sequence[Task]) -> BatchEvent:
    """Run the tasks of a batch together, and each alone if that fails: a bad request fails nobody else."""
    config = queue.config
    rows = sum(task.rows for task in tasks)
    run_rows = next((size for size in config.allowed_batch_sizes if size >= rows), rows) if rows else 0
    start = time.monotonic()
    event = BatchEvent(
        model=queue.model,
        thread_pool=config.thread_pool_name,
        rows=rows,
        run_rows=run_rows,
        tokens=sum(task.rows * task.tokens for task in tasks) if config.token_budget else 0,
        run_tokens=run_rows * max(task.tokens for task in tasks) if config.token_budget else 0,
        waited=[start - task.since for task in tasks],
    )
    results: list[list[Array]] | CallError
    try:
        inputs = merge([task.inputs for task in tasks], run_rows, padded=config.pad_variable_length_inputs)
        results = split(queue.run(inputs), [task.rows for task in tasks], run_rows)
    except CallError as error:
        results = error
    except Exception as error:
        logger.exception("A batch of model '%s' failed", queue.model)
        results = ServerError(f"{type(error).__name__}: {error}")
    event.seconds = time.monotonic() - start
    if isinstance(results, CallError) and len(tasks) > 1:
        for task in tasks:
            run_batch(queue, [task])
        return event
    for position, task in enumerate(tasks):
        task.ran, task.took, task.run_rows = start, event.seconds, run_rows
        task.finish(results if isinstance(results, CallError) else results[position])
    return event
