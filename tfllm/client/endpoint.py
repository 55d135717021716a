"""What both transports share: where their channels lead, how they are opened, and when another one is due."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tfllm.client import channels
from tfllm.client.addresses import Address, parse_address
from tfllm.client.breaker import BreakerRest
from tfllm.client.channels import Metadata
from tfllm.client.config import ConnectionConfig
from tfllm.client.retries import RetryBudget
from tfllm.client.silence import Silence
from tfllm.errors import CallError, Cancelled, Timeout
from tfllm.wire import messages

_HEDGES_KEPT = 10.0
_HEDGES_PER_CALL = 0.5


class Endpoint:
    """The servers of a transport, with its settings.

    A channel is replaced in three cases, and the calls on the old one are left to finish: when the names stand for
    other addresses than before, because gRPC looks a name up anew only when a connection breaks, so that new servers
    would stay without calls; after three timeouts in a row without an answer between them (see `Silence`); and when the
    breaker has to rest.

    Args:
        address: `host:port`, several of them, or another name that gRPC knows.
        config: security, retries, keepalive; the defaults without it.
        now: returns the seconds of a clock.

    Attributes:
        servers: where the calls go.
        config: the settings.
        retries: what may be tried again of calls that gRPC does not retry.

    Raises:
        ConfigError: the address is none that gRPC can reach, or a token would go over an open network.
    """

    def __init__(
        self, address: Address, config: ConnectionConfig | None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.servers = parse_address(address)
        self.config = config or ConnectionConfig()
        channels.check_token(self.config, self.servers)
        self._credentials = channels.credentials(self.config)
        self._now = now
        self._known: frozenset[Any] | None = None
        self._look_at = 0.0
        self._silence = Silence(now)
        self.retries = RetryBudget(self.config.retry_budget)
        self._hedges = _HEDGES_KEPT
        self._breaker = BreakerRest(self.config.breaker if self.servers.balanced else None, now)

    @property
    def generation(self) -> int:
        """The number of the connections that a channel has which is opened now."""
        return self._silence.generation

    def open(self, maker: Any, target: str) -> Any:
        """Open a channel.

        Args:
            maker: `grpc` or `grpc.aio`.
            target: gRPC's name of the servers.
        """
        config = replace(self.config, breaker=None) if self._breaker.resting else self.config
        options = [
            *channels.channel_options(config, self.servers),
            # Channels with equal options share their connections: those of this endpoint, until it leaves them.
            ("tfllm.connections", f"{id(self)}-{self.generation}"),
        ]
        packing = channels.compression(self.config)
        if self._credentials is None:
            return maker.insecure_channel(target, options=options, compression=packing)
        return maker.secure_channel(target, self._credentials, options=options, compression=packing)

    def request(self, timeout: float | None) -> tuple[Metadata, float | None]:
        """Return the metadata of one request, and what is left of its timeout."""
        return channels.request_metadata(self.config, timeout)

    def hedges(self, method: str) -> bool:
        """Say whether a method's requests may be sent more than once at a time."""
        return self.config.hedge_after is not None and method in messages.PREDICTIONS

    def error(self, status: Any, metadata: Metadata, generation: int) -> CallError:
        """Return the error of a gRPC status, and take note of it.

        Args:
            status: grpc's error.
            metadata: what the request was sent with.
            generation: the number of the connections that it was sent on.
        """
        error = channels.error_of(status, self.servers.shown)
        if isinstance(error, Timeout):
            self._silence.timed_out(generation)
        elif not isinstance(error, Cancelled):
            self._silence.heard(generation)
        self._breaker.failed(error.code)
        error.hint = channels.request_id_hint(metadata)
        return error

    def answered(self, generation: int) -> None:
        """Take note of an answer: the connection is alive."""
        self._silence.heard(generation)
        self._breaker.answered()

    def closed(self) -> Cancelled:
        """Return the error of a call on a client that is closed."""
        return Cancelled("The client is closed.", address=self.servers.shown)

    def names_too_slow(self, timeout: float | None) -> Timeout:
        """Return the error of a call whose servers' names could not be looked up in time."""
        return Timeout(f"The names of the servers were not found within {timeout} s.", address=self.servers.shown)

    def leave(self) -> bool:
        """Say whether another channel is due; where connections are to be given up, it will have new ones."""
        return self._silence.ended() or self._breaker.turned()

    def look_up_due(self) -> bool:
        """Say whether the names are to be looked up now; the next time will be after the settings' pause."""
        if self.config.refresh is None or not self.servers.named or self._now() < self._look_at:
            return False
        self._look_at = self._now() + self.config.refresh
        return True

    def moved(self, target: str) -> str | None:
        """Look the names up; return gRPC's name of the servers if they are others than before. It may take long.

        Args:
            target: gRPC's name of the servers that the calls go to now; that of several hosts has their addresses.
        """
        found = self.servers.addresses()
        if not found:
            return None  # no answer is no news
        before, self._known = self._known, found
        now = self.servers.target(found)
        return now if now != target or (before or found) != found else None

    def earn_hedge(self) -> None:
        """Take note of a call: each two of them allow one copy."""
        self._hedges = min(_HEDGES_KEPT, self._hedges + _HEDGES_PER_CALL)

    def return_hedge(self) -> None:
        """Take note of a copy that answered before the request itself."""
        self._hedges = min(_HEDGES_KEPT, self._hedges + 1)

    def may_hedge(self) -> bool:
        """Say whether a request may be sent once more, and take note of it."""
        if self._hedges < 1:
            return False
        self._hedges -= 1
        return True
