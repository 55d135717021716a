"""When gRPC's breaker has to rest: while the calls fail by what the program asks, and not by how a server does.

gRPC's outlier detection counts every status but OK, and nothing can be set about that. A program that sends wrong
requests to healthy servers would have up to half of them left out.
"""

import time
from collections.abc import Callable

_OF_THE_CALL = frozenset(
    {
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "FAILED_PRECONDITION",
        "OUT_OF_RANGE",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "UNIMPLEMENTED",
        "ABORTED",
        "CANCELLED",
        "RESOURCE_EXHAUSTED",  # where all servers are full, fewer of them would be fuller still
    }
)
_MEMORY = 0.1  # the weight of the newest call in the share
_REST_SECONDS = 5.0  # the least; as long as gRPC leaves a server out at first


class BreakerRest:
    """Says whether the breaker rests, from the share of calls that failed by what was asked.

    UNAVAILABLE, INTERNAL, UNKNOWN, DATA_LOSS and DEADLINE_EXCEEDED speak of a server's health, and are not in the
    share: a server that hangs shows by timeouts alone.

    Args:
        breaker: the share of failed calls of a server at which gRPC leaves it out; `None` if it never does.
        now: returns the seconds of a clock.

    Example:
        >>> rest = BreakerRest(0.8)
        >>> for _ in range(6):
        ...     rest.failed("INVALID_ARGUMENT")
        >>> rest.turned(), rest.resting
        (True, True)
    """

    def __init__(self, breaker: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._breaker = breaker
        self._now = now
        self._share = 0.0
        self._until = 0.0
        self.resting = False

    def answered(self) -> None:
        """Take note of an answer."""
        self._share -= self._share * _MEMORY

    def failed(self, code: str) -> None:
        """Take note of a status that is not OK."""
        self._share += (float(code in _OF_THE_CALL) - self._share) * _MEMORY

    def turned(self) -> bool:
        """Say whether the breaker is to rest or to work from now on, other than before."""
        if self._breaker is None:
            return False
        if not self.resting:
            self.resting = self._share > self._breaker / 2
            self._until = self._now() + _REST_SECONDS
            return self.resting
        self.resting = self._share > self._breaker / 4 or self._now() < self._until
        return not self.resting
