import threading

import pytest

from tfllm.server.pools import CountingPool


def test_it_knows_what_waits():
    pool, gate = CountingPool(2, "test"), threading.Event()
    assert pool.waiting == 0
    futures = [pool.submit(gate.wait, 10) for _ in range(5)]
    assert pool.waiting == 3
    futures[-1].cancel()
    assert pool.waiting == 2
    gate.set()
    assert [future.result() for future in futures[:4]] == [True] * 4
    pool.shutdown()
    assert pool.waiting == 0
    with pytest.raises(RuntimeError):
        pool.submit(gate.wait)
    assert pool.waiting == 0
    assert not pool.full(0)


def test_it_is_full_once_nobody_may_wait():
    gate = threading.Event()
    with CountingPool(2, "test") as pool:
        seen = []
        for _ in range(4):
            seen.append((pool.full(0), pool.full(1)))
            pool.submit(gate.wait, 10)
        assert seen == [(False, False), (False, False), (True, False), (True, True)]
        gate.set()


def test_a_task_may_count_as_done_before_it_returns():
    gate, left = threading.Event(), threading.Event()

    def work():
        pool.leave()
        pool.leave()
        left.set()
        gate.wait(10)

    with CountingPool(1, "test") as pool:
        pool.leave()  # not a thread of the pool
        pool.submit(work)
        assert left.wait(10)
        assert not pool.full(0)
        gate.set()
    assert pool._pending == 0
