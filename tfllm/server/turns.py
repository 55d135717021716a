"""Requests that run each alone: so many at a time, in the order in which they came.

They wait here and not in TensorFlow's threads, where a request whose caller has gone would still be run.
"""

import collections
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tfllm.errors import Timeout
from tfllm.server.observers import RequestEvent
from tfllm.server.servable import RunStep, run_alone
from tfllm.server.signatures import Array


class Turns:
    """Lets so many requests run at a time, of all models together.

    Args:
        at_once: how many.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: collections.deque[threading.Lock] = collections.deque()
        self._lock = threading.Lock()

    def door(self, run: RunStep) -> "TurnDoor":
        """Return the door for the requests of a model version, which `run` computes."""
        return TurnDoor(self, run)

    @contextmanager
    def turn(self, event: RequestEvent) -> Iterator[None]:
        """Wait for the request's turn, and give it to the next one when the block ends.

        Raises:
            CallError: the deadline passed, or the caller has gone.
        """
        start = time.monotonic()
        self._enter(event.deadline)
        event.queue_seconds += time.monotonic() - start
        try:
            if (refusal := event.refusal()) is not None:
                raise refusal
            yield
        finally:
            self._leave()

    def _enter(self, deadline: float | None) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
            return
        with self._lock:
            if turn in self._waiting:  # else the turn came at the last moment, and has to be given on
                self._waiting.remove(turn)
                raise Timeout("Deadline Exceeded")

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class TurnDoor:
    """The door through which the requests of one model version reach its graph.

    Args:
        turns: what lets them in.
        run: runs a step of the graph.
    """

    def __init__(self, turns: Turns, run: RunStep) -> None:
        self._turns = turns
        self._run = run

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], event: RequestEvent) -> list[Array]:
        """Run a request when it is its turn.

        Args:
            feeds: tensor name -> array.
            fetches: the names of the tensors to return.
            event: the request; its times are filled in.

        Raises:
            CallError: the deadline passed, the caller has gone, or the graph failed.
        """
        with self._turns.turn(event):
            return run_alone(self._run, feeds, fetches, event)
