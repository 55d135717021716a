"""When the breaker rests: by calls that fail for what they ask, not for how the servers do."""

import pytest

from tfllm.client.breaker import BreakerRest


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def fed(rest, *codes):
    for code in codes:
        rest.answered() if code == "OK" else rest.failed(code)
    return rest.turned()


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED"])
def test_it_rests_while_calls_fail_for_what_they_ask(code):
    clock = Clock()
    rest = BreakerRest(0.8, clock)
    assert not fed(rest, *["OK"] * 20, *[code] * 4)
    assert fed(rest, *[code] * 3)
    assert rest.resting
    assert not fed(rest, *["OK"] * 50), "five seconds are the least"
    clock.seconds = 6.0
    assert fed(rest)
    assert not rest.resting


def test_it_rests_on_while_the_calls_go_on_failing():
    clock = Clock()
    rest = BreakerRest(0.8, clock)
    assert fed(rest, *["INVALID_ARGUMENT"] * 10)
    clock.seconds = 60.0
    assert not fed(rest)
    assert rest.resting


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED"])
def test_it_works_where_servers_are_ill(code):
    assert not fed(BreakerRest(0.8), *[code] * 100)


def test_one_wrong_request_among_many_changes_nothing():
    assert not fed(BreakerRest(0.8), *["OK", "OK", "INVALID_ARGUMENT"] * 30)


def test_what_does_not_exist_does_not_rest():
    assert not fed(BreakerRest(None), *["INVALID_ARGUMENT"] * 100)
