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
