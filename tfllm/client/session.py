"""What both clients are: a target, a time limit and a connection's settings, with the pure steps of a call."""

import itertools
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy.typing as npt

from tfllm.client import calls, hints
from tfllm.client.addresses import Address, parse_address
from tfllm.client.bulk import Deadline
from tfllm.client.calls import Chunk, Item, Target
from tfllm.client.config import ConnectionConfig
from tfllm.client.metadata import VersionStatus
from tfllm.errors import ConfigError

_READY_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)


class Session:
    """The settings of a client, and every step of a call that moves no bytes.

    Args:
        address: where the servers are.
        target: what is called.
        timeout: the seconds a call may take.
        connection: security, retries, keepalive.

    Raises:
        ConfigError: an argument cannot be right.
    """

    def __init__(
        self, address: Address, target: Target, timeout: float | None, connection: ConnectionConfig | None
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ConfigError(f"Expected a timeout above 0 seconds, or None. Received: timeout={timeout}.")
        self.address = parse_address(address).shown
        self.target = target
        self.timeout = timeout
        self.connection = connection or ConnectionConfig()
        self.signatures = hints.SignatureCache()

    def deadline(self, timeout: float | None = None) -> Deadline:
        """Return a deadline that starts now: in `timeout` seconds, or in the client's own."""
        return Deadline(self.timeout if timeout is None else timeout, self.target.model, self.address)

    def chunks(self, items: Iterable[Item], batch_size: int) -> Iterator[Chunk]:
        """Cut items into requests, as they are asked for."""
        return calls.text_chunks(self.target, items, batch_size, self.connection.max_request_bytes)

    async def chunks_async(self, items: Iterable[Item] | AsyncIterable[Item], batch_size: int) -> AsyncIterator[Chunk]:
        """Cut items, from an asynchronous source too, into requests, as they are asked for."""
        if not isinstance(items, AsyncIterable):
            for chunk in self.chunks(items, batch_size):
                yield chunk
            return
        cutter = calls.Cutter(self.target, batch_size, self.connection.max_request_bytes)
        async for item in items:
            for chunk in cutter.push(item):
                yield chunk
        for chunk in cutter.flush():
            yield chunk

    def arrays_call(
        self, inputs: Mapping[str, npt.ArrayLike], signature: str | None, outputs: Iterable[str] | None
    ) -> tuple[Target, bytes]:
        """Return what a call with arrays goes to, and its request."""
        target = self.target if signature is None else replace(self.target, signature=signature)
        return target, calls.arrays_request(target, inputs, outputs)

    def is_ready(self, statuses: Iterable[VersionStatus]) -> bool:
        """Say whether the version that is called (any, for the newest or a label) is available."""
        available = {row.version for row in statuses if row.state == "AVAILABLE"}
        return bool(available) if self.target.version is None else self.target.version in available


def ready_pauses() -> Iterator[float]:
    """Return the pauses between looks at a server that is starting, without end."""
    return itertools.chain(_READY_PAUSES, itertools.repeat(_READY_PAUSES[-1]))
