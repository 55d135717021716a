"""Requests that run each alone: so many at a time, the models in turn, those to one model in the order of their coming.

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
    """Lets so many requests run at a time, of all models together; those that wait take turns by model.

    Args:
        at_once: how many.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        # model -> its requests, the model whose turn is next first; none without requests
        self._waiting: collections.OrderedDict[str, collections.deque[threading.Lock]] = collections.OrderedDict()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def door(self, model: str, run: RunStep) -> "TurnDoor":
        """Return the door for the requests of a version of a model, which `run` computes."""
        return TurnDoor(self, model, run)

    @contextmanager
    def turn(self, model: str, event: RequestEvent) -> Iterator[None]:
        """Wait for the turn of a request to a model, and give it to the next one when the block ends.

        Raises:
            CallError: the deadline passed, or the caller has gone.
        """
        start = time.monotonic()
        self._enter(model, event.deadline)
        event.queue_seconds += time.monotonic() - start
        try:
            if (refusal := event.refusal()) is not None:
                raise refusal
            yield
        finally:
            self._leave()

    def _enter(self, model: str, deadline: float | None) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.setdefault(model, collections.deque()).append(turn)
        if turn.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
            return
        with self._lock:
            queue = self._waiting.get(model)
            if queue is not None and turn in queue:  # else the turn came at the last moment, and has to be given on
                queue.remove(turn)
                if not queue:
                    del self._waiting[model]
                raise Timeout("Deadline Exceeded")

    def _leave(self) -> None:
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            model, queue = self._waiting.popitem(last=False)
            queue.popleft().release()
            if queue:
                self._waiting[model] = queue  # behind the other models


class TurnDoor:
    """The door through which the requests of one model version reach its graph.

    Args:
        turns: what lets them in.
        model: the model's name.
        run: runs a step of the graph.
    """

    def __init__(self, turns: Turns, model: str, run: RunStep) -> None:
        self._turns = turns
        self._model = model
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
        with self._turns.turn(self._model, event):
            return run_alone(self._run, feeds, fetches, event)
