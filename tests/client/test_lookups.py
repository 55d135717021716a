"""Work beside the calls that wait for it."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from tfllm.client.lookups import in_background


def test_results_and_errors_reach_those_who_wait():
    assert in_background(lambda: 5).result(5) == 5
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 / 0).result(5)


def test_a_wait_that_is_too_short_leaves_the_work_to_the_others():
    gate = threading.Event()
    work = in_background(lambda: gate.wait(5))
    with pytest.raises(TimeoutError):
        work.result(0.05)
    gate.set()
    assert work.result(5) is True


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_waiting_may_be_ended_while_the_work_goes_on():
    gate = threading.Event()
    works = [in_background(lambda: gate.wait(5)), in_background(lambda: gate.wait(5) / 0)]
    for work in works:
        assert work.cancel()
        with pytest.raises(CancelledError):
            work.result(5)
    gate.set()
    time.sleep(0.1)
