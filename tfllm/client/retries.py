"""What is tried again, after which pauses, and when not any more: gRPC's rules, for calls that it does not retry."""

import random

from tfllm.client.config import ConnectionConfig

RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
"""The statuses that may pass."""

_RETURNED = 0.1  # what a success gives back of the budget; a failure costs 1
_JITTER = 0.2
_DOUBLINGS = 30  # beyond them any pause is the longest


class RetryBudget:
    """How much may be tried again: after so many failures in a row nothing, until calls succeed again.

    Args:
        failures: so many; 0 for no bound.

    Example:
        >>> budget = RetryBudget(2)
        >>> budget.failed()
        >>> budget.failed()
        >>> budget.spent
        True
    """

    def __init__(self, failures: int) -> None:
        self._most = 2.0 * failures
        self._spent = 0.0

    @property
    def spent(self) -> bool:
        """Whether nothing may be tried again now."""
        return bool(self._most) and self._spent >= self._most / 2

    def failed(self) -> None:
        """Take note of a failure that may pass."""
        self._spent = min(self._most, self._spent + 1)

    def answered(self) -> None:
        """Take note of a success."""
        self._spent = max(0.0, self._spent - _RETURNED)


def pause(config: ConnectionConfig, attempt: int) -> float:
    """Return the seconds to wait after an attempt that failed, with jitter.

    Args:
        config: has the first pause and the longest.
        attempt: the number of the attempt, from 1.
    """
    backoff = min(config.max_backoff, config.initial_backoff * 2.0 ** min(attempt - 1, _DOUBLINGS))
    return random.uniform(1 - _JITTER, 1 + _JITTER) * backoff
