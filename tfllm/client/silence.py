"""When a connection has gone silent and is to be given up."""

import time
from collections.abc import Callable

_TIMEOUTS_IN_A_ROW = 3  # then the connection may be half-open: calls go into it, and nothing comes back
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_CALM = 2 * _LONGEST_PAUSE  # after it the pauses begin anew


class Silence:
    """Says when connections are to be given up: after three timeouts in a row without a sign of life between them.

    Servers that are only slow look the same, and many new connections would make them slower. So each generation of
    connections has its own count, and the pauses between two generations grow, from one second to a minute.

    Args:
        now: returns the seconds of a clock.

    Attributes:
        generation: the number of the connections of the moment.

    Example:
        >>> silence = Silence()
        >>> for _ in range(3):
        ...     silence.timed_out(0)
        >>> silence.ended(), silence.generation
        (True, 1)
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._timeouts = 0
        self._pause = 0.0
        self._last = float("-inf")
        self.generation = 0

    def timed_out(self, generation: int) -> None:
        """Take note of a call without an answer; one on connections that were given up says nothing new."""
        if generation == self.generation:
            self._timeouts += 1

    def heard(self, generation: int) -> None:
        """Take note of a sign of life: an answer, or an error that a server sent."""
        if generation == self.generation:
            self._timeouts = 0

    def ended(self) -> bool:
        """Say whether new connections are due; the next calls go on those of another generation then."""
        now = self._now()
        if self._timeouts < _TIMEOUTS_IN_A_ROW or now < self._last + self._pause:
            return False
        grown = min(_LONGEST_PAUSE, 2 * self._pause)
        self._pause = grown if self._pause and now < self._last + _CALM else _FIRST_PAUSE
        self._last = now
        self._timeouts = 0
        self.generation += 1
        return True
