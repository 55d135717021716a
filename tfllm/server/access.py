"""The gate before every request: who it is, and whether there is room for it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from tfllm.errors import ConfigError, Overloaded, Unauthenticated
from tfllm.server.config import ServerConfig
from tfllm.server.observers import RequestEvent
from tfllm.server.tokens import Caller, JwtVerifier, TokenFile, Verifier, authenticate

_CALLERS_REMEMBERED = 10_000
_ANYBODY = frozenset(["*"])
_SECRETS = ("authorization", "cookie", "proxy-authorization")  # not for observers


class RateLimit:
    """So many requests a second for each caller, with as many at once after a pause (a token bucket).

    Args:
        per_second: how many; at least one at once.
    """

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._most = max(1.0, per_second)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str) -> None:
        """Count a request.

        Raises:
            Overloaded: it is one too many.
        """
        now = time.monotonic()
        with self._lock:
            left, since = self._left.pop(caller, (self._most, now))
            left = min(self._most, left + (now - since) * self._rate)
            self._left[caller] = (left - 1 if left >= 1 else left, now)
            if len(self._left) > _CALLERS_REMEMBERED:
                self._left.popitem(last=False)  # the one that has been silent longest
        if left < 1:
            raise Overloaded(f"Over the limit of {self._rate:g} requests a second for one caller.")


class Access:
    """Lets requests in, or not.

    Args:
        verifiers: who says whose token it is; without any, everybody may do everything.
        limit: how many requests a caller may send; any number without it.
    """

    def __init__(self, verifiers: Sequence[Verifier] = (), limit: RateLimit | None = None) -> None:
        self._verifiers = verifiers
        self._limit = limit

    def admit(self, event: RequestEvent) -> None:
        """Note in a request's event who sent it, and with what rights.

        Raises:
            Unauthenticated: it has no token, or one that does not hold.
            Overloaded: the caller sends too many; without a token that holds, its address is the caller.
        """
        if self._verifiers:
            try:
                event.rights = authenticate(event.metadata, self._verifiers)
            except Unauthenticated:
                self._count(event.caller)
                raise
            event.caller = event.rights.name
        else:
            event.rights = Caller(event.caller, _ANYBODY, admin=True)
        event.metadata = {name: text for name, text in event.metadata.items() if name not in _SECRETS}
        self._count(event.caller)

    def _count(self, caller: str) -> None:
        if self._limit is not None:
            self._limit.take(caller)


def make_access(config: ServerConfig) -> Access:
    """Return the gate that a server's settings describe.

    Raises:
        ConfigError: a file cannot be used, or settings contradict each other.
    """
    verifiers: list[Verifier] = []
    if config.auth_token_file:
        verifiers.append(TokenFile(config.auth_token_file))
    if config.auth_jwks_file:
        verifiers.append(JwtVerifier(config.auth_jwks_file, config.auth_jwt_audience, config.auth_jwt_issuer))
    elif config.auth_jwt_audience or config.auth_jwt_issuer:
        raise ConfigError("Expected auth_jwks_file with auth_jwt_audience and auth_jwt_issuer. Received: none.")
    if config.rate_limit_per_caller < 0:
        raise ConfigError(f"Expected a rate_limit_per_caller of at least 0. Received: {config.rate_limit_per_caller}.")
    limit = RateLimit(config.rate_limit_per_caller) if config.rate_limit_per_caller else None
    return Access(verifiers, limit)
