"""TensorFlow Serving's REST API as a transport, for networks that let no gRPC through (needs httpx).

`Client("http://host:8501", model=...)` takes it by itself.
"""

import asyncio
import os
import ssl
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tfllm.client import channels, metadata, rest_codec, retries
from tfllm.client.addresses import is_this_machine
from tfllm.client.config import ConnectionConfig, TlsConfig
from tfllm.client.flows import Pause, run, run_async
from tfllm.client.metadata import ModelMetadata
from tfllm.client.rest_codec import HttpRequest
from tfllm.errors import CallError, Cancelled, ConfigError, Overloaded, ServerUnavailable, Timeout
from tfllm.wire import messages

if TYPE_CHECKING:
    from tfllm.client.http_connections import AsyncConnections, Connections

_FRESH_SECONDS = 30.0  # how long the signatures of a version are believed
_GRPC_ONLY = ("compression", "hedge_after", "health_service", "keepalive", "breaker", "refresh")

_End = float | None
_Steps = Generator[HttpRequest | Pause, Any, bytes]


class _Rest:
    """What both transports are: settings, retries, and the steps of a call.

    Args:
        address: the server's REST address, `http://host:8501` or `https://...`.
        config: TLS, token, retries. What only gRPC can do is refused.

    Raises:
        ConfigError: the address is none of REST, a setting is for gRPC only, or a token would go over an open network.
        ImportError: httpx is not installed.
    """

    def __init__(self, address: str, config: ConnectionConfig | None = None) -> None:
        self._address = address.rstrip("/")
        self._config = config or ConnectionConfig()
        if not self._address.startswith(("http://", "https://")):
            raise ConfigError(f"Expected a REST address, for example 'http://localhost:8501'. Received: '{address}'.")
        defaults = ConnectionConfig()
        values = {name: getattr(self._config, name) for name in _GRPC_ONLY}
        if given := [name for name, value in values.items() if value not in (None, getattr(defaults, name))]:
            raise ConfigError(f"Expected settings that REST has. Received: {', '.join(given)}. Use gRPC for them.")
        self._http = _http_connections()
        if self._config.token is not None and self._address.startswith("http://") and not self._is_local():
            raise ConfigError(
                f"Expected https where a token goes to another machine. Received: a token for '{self._address}'."
            )
        tls = self._config.tls
        self._options = {
            "base_url": self._address,
            "verify": True if tls is None else _context(tls),
            "trust_env": False,
        }
        self._signatures: dict[bytes, tuple[float, ModelMetadata]] = {}
        self._retries = retries.RetryBudget(self._config.retry_budget)
        self._closed = False

    def _is_local(self) -> bool:
        return is_this_machine(urlsplit(self._address).hostname or "")

    def _request(self, timeout: float | None) -> tuple[dict[str, str], dict[str, Any], float | None]:
        """Return headers and extensions of a call, and the seconds that are left of its timeout."""
        pairs, left = channels.request_metadata(self._config, timeout)
        headers = dict(pairs) | {"content-type": "application/json"}
        name = self._config.tls and self._config.tls.server_name
        return headers, {"sni_hostname": name} if name else {}, left

    def _steps(self, method: str, request: bytes) -> _Steps:
        """Say what to send, and return the response that gRPC would have brought."""
        found = None
        if method == messages.PREDICT:
            found = yield from self._found(request)
        answer = yield from self._ask(rest_codec.http_request(method, request))
        return rest_codec.response_of(method, request, answer, found)

    def _found(self, request: bytes) -> Generator[HttpRequest | Pause, Any, ModelMetadata]:
        asked = rest_codec.metadata_request(request)
        looked_up, found = self._signatures.get(asked, (0.0, None))
        if found is None or time.monotonic() - looked_up > _FRESH_SECONDS:
            method = messages.GET_MODEL_METADATA
            answer = yield from self._ask(rest_codec.http_request(method, asked))
            found = metadata.metadata_of(rest_codec.response_of(method, asked, answer, None))
            self._signatures[asked] = (time.monotonic(), found)
        return found

    def _ask(self, request: HttpRequest) -> _Steps:
        """Ask, and ask again what may pass, after pauses with jitter and while the budget lasts; as gRPC does."""
        attempt = failures = 0
        while True:
            try:
                status, body = yield request
                if status != 200:
                    raise rest_codec.error_of(status, body, self._address)
            except (ServerUnavailable, Overloaded) as error:
                failures += 1
                waits = self._config.wait_for_ready and isinstance(error.__cause__, self._http.UNREACHED)
                if not waits:
                    attempt += 1
                    self._retries.failed()
                    if attempt == self._config.max_attempts or self._retries.spent:
                        raise
                yield Pause(retries.pause(self._config, failures))
            else:
                self._retries.answered()
                return bytes(body)

    def _error(self, error: Exception, headers: dict[str, str], ended: bool) -> CallError:
        """Return the error of httpx's.

        Args:
            error: what httpx raised.
            headers: those of the request.
            ended: whether the client was closed, and its grace is over.
        """
        if ended:
            return self._ended()
        hint = channels.request_id_hint(tuple(headers.items()))
        if isinstance(error, (TimeoutError, *self._http.LATE)):
            return Timeout("Deadline Exceeded", address=self._address, hint=hint)
        return ServerUnavailable(
            f"No server can be reached at {self._address}. Check that it runs and that this is its REST port "
            f"(8501 as a rule). httpx says: {type(error).__name__}: {error}",
            address=self._address,
            hint=hint,
        )

    def _ended(self) -> Cancelled:
        return Cancelled("The client is closed.", address=self._address)


class RestTransport(_Rest):
    """TensorFlow Serving's REST API behind the interface of a transport.

    Args:
        address: the server's REST address, `http://host:8501` or `https://...`.
        config: TLS, token, retries. What only gRPC can do is refused.

    Raises:
        ConfigError: the address is none of REST, a setting is for gRPC only, or a token would go over an open network.
        ImportError: httpx is not installed.

    Example:
        >>> client = Client("http://localhost:8501", model="reviews")  # has this transport
        >>> client = Client("localhost:8500", model="reviews", transport=RestTransport("http://localhost:8501"))
    """

    def __init__(self, address: str, config: ConnectionConfig | None = None) -> None:
        super().__init__(address, config)
        self._connections: dict[int, Connections] = {}
        self._here()

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        headers, extensions, left = self._request(timeout)
        end = None if left is None else time.monotonic() + left
        here = self._here()
        with here.call(end):
            if self._closed:
                raise self._ended()
            return run(self._steps(method, request), lambda step: self._do(here, step, headers, extensions, end))

    def close(self, grace: float = 0.0) -> None:
        """Refuse further calls, give those under way `grace` seconds, then end them with `Cancelled`."""
        self._closed = True
        self._here().close(grace)

    def _here(self) -> "Connections":
        """Return this process's own connections: two processes on one would get each other's answers."""
        here = self._connections.get(os.getpid())
        return here or self._connections.setdefault(os.getpid(), self._http.Connections(self._options))

    def _do(
        self,
        here: "Connections",
        step: HttpRequest | Pause,
        headers: dict[str, str],
        extensions: dict[str, Any],
        end: _End,
    ) -> Any:
        left = None if end is None else end - time.monotonic()
        if isinstance(step, Pause):
            here.pause(step.seconds if left is None else min(step.seconds, max(0.0, left)))
            return None
        if left is not None and left <= 0:
            raise self._error(TimeoutError(), headers, here.ended)
        options: Any = {"content": step.body, "headers": headers, "extensions": extensions, "timeout": left}
        try:
            response = here.http.request("GET" if step.body is None else "POST", step.path, **options)
        except self._http.FAILED as error:
            raise self._error(error, headers, here.ended) from error
        return response.status_code, response.content


class AsyncRestTransport(_Rest):
    """A `RestTransport` for an `AsyncClient`."""

    def __init__(self, address: str, config: ConnectionConfig | None = None) -> None:
        super().__init__(address, config)
        self._connections: dict[int, AsyncConnections] = {}
        self._here()

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        headers, extensions, left = self._request(timeout)
        if self._closed:
            raise self._ended()
        here = self._here()
        steps = self._steps(method, request)
        try:
            async with here.call(left):
                return await run_async(steps, lambda step: self._do(here, step, headers, extensions))
        except TimeoutError as error:
            raise self._error(error, headers, here.ended) from error

    async def close(self, grace: float = 0.0) -> None:
        """Refuse further calls, give those under way `grace` seconds, then end them with `Cancelled`."""
        self._closed = True
        await self._here().close(grace)

    def _here(self) -> "AsyncConnections":
        """Return this process's own connections; see `RestTransport`."""
        here = self._connections.get(os.getpid())
        return here or self._connections.setdefault(os.getpid(), self._http.AsyncConnections(self._options))

    async def _do(
        self,
        here: "AsyncConnections",
        step: HttpRequest | Pause,
        headers: dict[str, str],
        extensions: dict[str, Any],
    ) -> Any:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        options: Any = {"content": step.body, "headers": headers, "extensions": extensions, "timeout": None}
        try:
            response = await here.http.request("GET" if step.body is None else "POST", step.path, **options)
        except self._http.FAILED as error:
            raise self._error(error, headers, here.ended) from error
        return response.status_code, response.content


def _http_connections() -> Any:
    try:
        from tfllm.client import http_connections
    except ModuleNotFoundError as error:
        raise ImportError(
            "REST needs the package 'httpx', which is not installed. Install it with: pip install 'tfllm[rest]'",
            name="httpx",
        ) from error
    return http_connections


def _context(tls: TlsConfig) -> ssl.SSLContext:
    """Return the TLS settings as Python's ssl has them."""
    roots, key, certificate = tls.pems()
    context = ssl.create_default_context(cadata=None if roots is None else roots.decode())
    if key is not None and certificate is not None:
        with tempfile.TemporaryDirectory() as folder:  # Python's ssl reads keys from files only
            path = Path(folder, "client.pem")
            path.touch(mode=0o600)
            path.write_bytes(certificate + b"\n" + key)
            context.load_cert_chain(path)
    return context
