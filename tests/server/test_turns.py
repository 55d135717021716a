import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tfllm.errors import Cancelled, InvalidInput, Timeout
from tfllm.server.observers import RequestEvent
from tfllm.server.turns import Turns

ROWS = {"x": np.arange(3)}


class Gate:
    """A graph whose runs end when they are told to, and that notes who ran."""

    def __init__(self):
        self.open = threading.Semaphore(0)
        self.began = []
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, feeds, fetches, arrays):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.began.append(int(arrays[0][0]))
        assert self.open.acquire(timeout=20)
        with self._lock:
            self.now -= 1
        return arrays


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as threads:
        yield threads


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def ask(pool, turns, gate, number, model="m", **fields):
    event = RequestEvent("Predict", "GRPC", **fields)
    future = pool.submit(turns.door(model, gate).run, {"x": np.array([number])}, ("y",), event)
    return future, event


@pytest.mark.parametrize("at_once", [1, 2])
def test_so_many_at_once_in_the_order_they_came(gate, pool, at_once):
    turns, asked = Turns(at_once), []
    for number in range(6):
        asked.append(ask(pool, turns, gate, number))
        wait_until(lambda: len(gate.began) + turns.waiting == len(asked))
    gate.open.release(6)
    assert [future.result(20)[0].tolist() for future, _ in asked] == [[number] for number in range(6)]
    assert gate.most == at_once
    assert at_once > 1 or gate.began == list(range(6))


def test_models_take_turns(gate, pool):
    """One request to a quiet model does not wait for all those to a busy one."""
    turns, asked = Turns(1), []
    for number, model in enumerate(["busy", "busy", "busy", "busy", "quiet", "other", "quiet"]):
        asked.append(ask(pool, turns, gate, number, model))
        wait_until(lambda: len(gate.began) + turns.waiting == len(asked))
    gate.open.release(len(asked))
    for future, _ in asked:
        future.result(20)
    assert gate.began == [0, 1, 4, 5, 2, 6, 3]


def test_what_nobody_waits_for_is_not_run(gate, pool):
    turns, gone = Turns(1), threading.Event()
    first, _ = ask(pool, turns, gate, 1)
    wait_until(lambda: gate.began)
    late, event = ask(pool, turns, gate, 2, deadline=time.monotonic() + 0.05)
    with pytest.raises(Timeout):
        late.result(20)
    assert event.run_seconds == event.rows == 0
    cancelled, _ = ask(pool, turns, gate, 3, given_up=gone.is_set)
    last, event = ask(pool, turns, gate, 4)
    wait_until(lambda: turns.waiting == 2)
    gone.set()
    gate.open.release(2)
    with pytest.raises(Cancelled):
        cancelled.result(20)
    assert last.result(20)[0].tolist() == [4] and first.result(20)
    assert gate.began == [1, 4]
    assert event.queue_seconds > 0 and event.run_seconds > 0 and event.rows == event.batch_rows == 1


def test_a_failure_gives_the_turn_on():
    turns, event = Turns(1), RequestEvent("Predict", "GRPC")

    def fail(feeds, fetches, arrays):
        raise InvalidInput("no")

    for _ in range(3):
        with pytest.raises(InvalidInput):
            turns.door("m", fail).run(ROWS, ("y",), event)
    assert turns.door("m", lambda feeds, fetches, arrays: arrays).run(ROWS, ("y",), event)[0] is ROWS["x"]
    assert event.rows == 3


def test_turns_that_come_at_the_deadline_are_not_lost(pool):
    """Hand-overs and time-outs race; whatever wins, the next request gets its turn."""
    turns = Turns(1)

    def run(feeds, fetches, arrays):
        time.sleep(0.001)
        return arrays

    def one(number):
        event = RequestEvent("Predict", "GRPC", deadline=time.monotonic() + 0.0005 * (number % 16))
        try:
            turns.door(str(number % 3), run).run(ROWS, ("y",), event)
        except Timeout:
            return 0
        return 1

    assert 0 < sum(pool.map(one, range(400))) < 400
    assert turns.waiting == 0
    turns.door("m", run).run(ROWS, ("y",), RequestEvent("Predict", "GRPC", deadline=time.monotonic() + 5))
