"""When connections are given up: by timeouts in a row, and less and less often."""

import pytest

from tfllm.client.silence import Silence


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def given_up(silence, clock, seconds):
    """Return when connections are given up in so many seconds without any answer."""
    moments = []
    for _ in range(10 * seconds):
        silence.timed_out(silence.generation)
        if silence.ended():
            moments.append(round(clock.seconds, 1))
        clock.seconds += 0.1
    return moments


def test_the_first_is_given_up_after_three_timeouts_and_the_next_after_longer_and_longer():
    clock = Clock()
    moments = given_up(Silence(clock), clock, 40)
    assert moments == pytest.approx([0.2, 1.2, 3.2, 7.2, 15.2, 31.2], abs=0.3)


def test_pauses_are_a_minute_at_most_and_begin_anew_after_calm():
    clock = Clock()
    silence = Silence(clock)
    moments = given_up(silence, clock, 400)
    assert max(after - before for before, after in zip(moments, moments[1:], strict=False)) < 60.2
    silence.heard(silence.generation)
    clock.seconds += 200
    again = given_up(silence, clock, 3)
    assert len(again) == 2 and again[1] - again[0] < 1.1


def test_a_sign_of_life_between_timeouts_keeps_the_connection():
    silence = Silence(Clock())
    for _ in range(10):
        silence.timed_out(0)
        silence.timed_out(0)
        assert not silence.ended()
        silence.heard(0)
    assert silence.generation == 0


def test_timeouts_and_answers_on_connections_that_were_given_up_say_nothing():
    clock = Clock()
    silence = Silence(clock)
    for _ in range(3):
        silence.timed_out(0)
    assert silence.ended()
    clock.seconds = 100
    for _ in range(20):
        silence.timed_out(0)
    assert not silence.ended()
    for _ in range(3):
        silence.timed_out(1)
        silence.heard(0)
    assert silence.ended()
