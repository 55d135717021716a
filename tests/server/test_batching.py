"""Which requests share a batch, and what each of them is told."""

import threading
import time

import numpy as np
import pytest

from tfllm.errors import Cancelled, InvalidInput, Overloaded, Timeout
from tfllm.server.batching import BatchQueue, run_batch
from tfllm.server.batching_config import BatchingConfig
from tfllm.server.observers import RequestEvent


def double(arrays):
    return [array * 2 for array in arrays]


def make_queue(run=double, **settings):
    return BatchQueue("m", BatchingConfig(**settings), run)


def put(queue, *rows, event=None):
    """Add a request with these values, and return its tasks."""
    tasks = queue.tasks_of([np.array(rows, np.float32)], event or RequestEvent("Predict", "GRPC"))
    queue.add(tasks)
    return tasks


def ids(queue, length):
    tasks = queue.tasks_of([np.zeros((1, length), np.int32)], RequestEvent("Predict", "GRPC"))
    queue.add(tasks)
    return tasks[0]


def test_oldest_first_up_to_the_size():
    queue = make_queue(max_batch_size=4)
    for rows in ([1, 2], [3], [4, 5], [6]):
        put(queue, *rows)
    assert [task.inputs[0].tolist() for task in queue.take()] == [[1, 2], [3]]
    assert [task.inputs[0].tolist() for task in queue.take()] == [[4, 5], [6]]
    assert (queue.tasks, queue.rows, queue.tokens) == ([], 0, 0)


def test_each_gets_its_own_rows():
    queue = make_queue()
    tasks = [*put(queue, 1, 2), *put(queue, 3), *put(queue)]
    event = run_batch(queue, queue.take())
    assert [task.wait()[0].tolist() for task in tasks] == [[2, 4], [6], []]
    assert (event.rows, event.run_rows, len(event.waited)) == (3, 3, 3)


def test_sizes_that_are_allowed():
    seen = []
    queue = make_queue(
        lambda arrays: seen.append(len(arrays[0])) or arrays, max_batch_size=8, allowed_batch_sizes=(2, 8)
    )
    put(queue, 1)
    run_batch(queue, queue.take())
    tasks = put(queue, 1, 2, 3)
    run_batch(queue, queue.take())
    assert seen == [2, 8]
    assert tasks[0].wait()[0].tolist() == [1, 2, 3]


def test_a_request_over_the_size():
    with pytest.raises(InvalidInput, match="^Task size 5 is larger than maximum input batch size 4"):
        put(make_queue(max_batch_size=4), 1, 2, 3, 4, 5)


def test_a_large_request_is_spread_over_batches():
    queue = make_queue(max_batch_size=8, enable_large_batch_splitting=True, max_execution_batch_size=2)
    tasks = put(queue, 1, 2, 3, 4, 5)
    assert [task.rows for task in tasks] == [2, 2, 1]
    assert len(queue.take()) == 1


def test_a_full_queue_refuses_at_once():
    queue = make_queue(max_batch_size=2, max_enqueued_batches=2)
    for _ in range(4):
        put(queue, 1)
    with pytest.raises(Overloaded, match="is full; 4 rows of at most 4 wait for model m, no room for 1 more"):
        put(queue, 1)
    queue.take()
    put(queue, 1)


def test_requests_of_other_shapes_wait_for_a_batch_of_their_own():
    queue = make_queue()
    for length in (3, 5, 3):
        ids(queue, length)
    assert [task.inputs[0].shape for task in queue.take()] == [(1, 3), (1, 3)]
    assert [task.inputs[0].shape for task in queue.take()] == [(1, 5)]


def test_one_bad_request_fails_alone():
    def picky(arrays):
        if (arrays[0] < 0).any():
            raise InvalidInput(f"below zero: {arrays[0].tolist()}")
        return arrays

    queue = make_queue(picky)
    good, bad, other = put(queue, 1)[0], put(queue, -2)[0], put(queue, 3)[0]
    run_batch(queue, queue.take())
    assert good.wait()[0].tolist() == [1] and other.wait()[0].tolist() == [3]
    with pytest.raises(InvalidInput, match=r"below zero: \[-2.0\]"):
        bad.wait()


def test_a_failure_of_the_code_reaches_the_callers(caplog):
    queue = make_queue(lambda arrays: 1 / 0)
    (task,) = put(queue, 1)
    run_batch(queue, queue.take())
    with pytest.raises(Exception, match="ZeroDivisionError"):
        task.wait()
    assert "A batch of model 'm' failed" in caplog.text


def test_a_deadline_ends_the_wait():
    event = RequestEvent("Predict", "GRPC", deadline=time.monotonic() + 0.05)
    (task,) = put(make_queue(), 1, event=event)
    assert event.refusal() is None
    with pytest.raises(Timeout):
        task.wait()
    assert isinstance(event.refusal(), Timeout)
    event = RequestEvent("Predict", "GRPC", given_up=lambda: True)
    assert isinstance(event.refusal(), Cancelled)


def test_when_a_batch_is_ready():
    queue = make_queue(max_batch_size=2, batch_timeout_micros=1_000_000)
    put(queue, 1)
    since = queue.tasks[0].since
    assert queue.seconds_until_ready(since + 0.25) == pytest.approx(0.75)
    assert queue.seconds_until_ready(since + 2) == 0
    put(queue, 1)
    assert queue.seconds_until_ready(since) == 0


def test_a_token_budget_takes_like_lengths_beginning_with_the_oldest():
    queue = make_queue(token_budget=64, pad_variable_length_inputs=True)
    for length in (16, 60, 15, 4, 17, 14, 5):
        ids(queue, length)
    assert [task.tokens for task in queue.take()] == [16, 15, 17]  # a fourth of 17 tokens is over the budget
    assert [task.tokens for task in queue.take()] == [60]
    assert [task.tokens for task in queue.take()] == [4, 5]  # with 14 more than half would be padding
    assert [task.tokens for task in queue.take()] == [14]
    assert (queue.rows, queue.tokens) == (0, 0)


def test_a_request_over_the_budget_runs_alone():
    queue = make_queue(token_budget=10)
    assert [ids(queue, 99), ids(queue, 99)]
    assert [len(queue.take()), len(queue.take())] == [1, 1]


def test_tokens_and_padding_are_told():
    queue = make_queue(token_budget=64, pad_variable_length_inputs=True)
    ids(queue, 10), ids(queue, 12)
    event = run_batch(queue, queue.take())
    assert (event.tokens, event.run_tokens) == (22, 24)


def test_a_waiting_thread_is_woken():
    queue = make_queue()
    (task,) = put(queue, 4)
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(task.wait()[0].tolist()))
    waiter.start()
    run_batch(queue, queue.take())
    waiter.join(10)
    assert answers == [[8]]
