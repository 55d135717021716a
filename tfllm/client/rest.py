"""TensorFlow Serving's REST API as a transport, for networks that let no gRPC through (needs httpx).

`Client("http://host:8501", model=...)` takes it by itself.
"""

import asyncio
import random
import ssl
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfllm.client import channels, metadata, rest_codec
from tfllm.client.config import ConnectionConfig, TlsConfig
from tfllm.client.flows import Pause, run, run_async
from tfllm.client.metadata import ModelMetadata
from tfllm.client.rest_codec import HttpRequest
from tfllm.errors import CallError, Cancelled, ConfigError, Overloaded, ServerUnavailable, Timeout
from tfllm.wire import messages

if TYPE_CHECKING:
    import httpx

_FRESH_SECONDS = 30.0  # how long the signatures of a version are believed
_GRPC_ONLY = ("compression", "hedge_after", "health_service")

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
        if given := [name for name in _GRPC_ONLY if getattr(self._config, name) != getattr(defaults, name)]:
            raise ConfigError(f"Expected settings that REST has. Received: {', '.join(given)}. Use gRPC for them.")
        host = self._address.partition("://")[2].rpartition(":")[0].strip("[]")
        if self._config.token is not None and self._address.startswith("http://") and host not in channels.LOCAL_HOSTS:
            raise ConfigError(
                f"Expected https where a token goes to another machine. Received: a token for '{self._address}'."
            )
        self._signatures: dict[bytes, tuple[float, ModelMetadata]] = {}
        self._failures = 0.0
        self._closed = False

    def _options(self) -> dict[str, Any]:
        tls = self._config.tls
        return {"base_url": self._address, "verify": True if tls is None else _context(tls), "trust_env": False}

    def _request(self, timeout: float | None) -> tuple[dict[str, str], dict[str, Any], float | None]:
        """Return headers, extensions and the end of a call."""
        if self._closed:
            raise Cancelled("The client is closed.", address=self._address)
        pairs, left = channels.request_metadata(self._config, timeout)
        headers = dict(pairs) | {"content-type": "application/json"}
        name = self._config.tls and self._config.tls.server_name
        return headers, {"sni_hostname": name} if name else {}, None if left is None else time.monotonic() + left

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
        config = self._config
        most = 2.0 * config.retry_budget
        attempt = 0
        while True:
            attempt += 1
            try:
                status, body = yield request
                if status != 200:
                    raise rest_codec.error_of(status, body, self._address)
            except (ServerUnavailable, Overloaded):
                self._failures = min(most, self._failures + 1) if most else 0.0
                if attempt == config.max_attempts or (most and self._failures >= most / 2):
                    raise
                backoff = min(config.max_backoff, config.initial_backoff * 2 ** (attempt - 1))
                yield Pause(random.uniform(0.8, 1.2) * backoff)
            else:
                self._failures = max(0.0, self._failures - 0.1)
                return bytes(body)

    def _left(self, end: _End) -> float | None:
        """Return the seconds left.

        Raises:
            Timeout: there are none.
        """
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            raise Timeout("Deadline Exceeded", address=self._address)
        return left

    def _error(self, error: Exception, late: bool, headers: dict[str, str]) -> CallError:
        """Return the error of httpx's."""
        hint = channels.request_id_hint(tuple(headers.items()))
        if late:
            return Timeout("Deadline Exceeded", address=self._address, hint=hint)
        return ServerUnavailable(
            f"No server can be reached at {self._address}. Check that it runs and that this is its REST port "
            f"(8501 as a rule). httpx says: {type(error).__name__}: {error}",
            address=self._address,
            hint=hint,
        )


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
        self._http: httpx.Client = _httpx().Client(**self._options())

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        headers, extensions, end = self._request(timeout)
        return run(self._steps(method, request), lambda step: self._do(step, headers, extensions, end))

    def close(self, grace: float = 0.0) -> None:
        """Refuse further calls and close the connections."""
        self._closed = True
        self._http.close()

    def _do(self, step: HttpRequest | Pause, headers: dict[str, str], extensions: dict[str, Any], end: _End) -> Any:
        if isinstance(step, Pause):
            time.sleep(max(0.0, _at_most(step.seconds, end)))
            return None
        httpx = _httpx()
        verb = "GET" if step.body is None else "POST"
        options: Any = {"content": step.body, "headers": headers, "extensions": extensions, "timeout": self._left(end)}
        try:
            with self._http.stream(verb, step.path, **options) as response:
                parts = []
                for part in response.iter_bytes():
                    parts.append(part)
                    self._left(end)  # a server that sends drop by drop never lets httpx's own limit pass
                return response.status_code, b"".join(parts)
        except (httpx.HTTPError, RuntimeError) as error:
            raise self._error(error, isinstance(error, httpx.TimeoutException), headers) from error


class AsyncRestTransport(_Rest):
    """A `RestTransport` for an `AsyncClient`."""

    def __init__(self, address: str, config: ConnectionConfig | None = None) -> None:
        super().__init__(address, config)
        self._http: httpx.AsyncClient = _httpx().AsyncClient(**self._options())

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.call`."""
        headers, extensions, end = self._request(timeout)
        return await run_async(self._steps(method, request), lambda step: self._do(step, headers, extensions, end))

    async def close(self, grace: float = 0.0) -> None:
        """Refuse further calls and close the connections."""
        self._closed = True
        await self._http.aclose()

    async def _do(
        self, step: HttpRequest | Pause, headers: dict[str, str], extensions: dict[str, Any], end: _End
    ) -> Any:
        if isinstance(step, Pause):
            await asyncio.sleep(max(0.0, _at_most(step.seconds, end)))
            return None
        httpx = _httpx()
        verb = "GET" if step.body is None else "POST"
        options: Any = {"content": step.body, "headers": headers, "extensions": extensions, "timeout": None}
        try:
            async with asyncio.timeout(self._left(end)):
                response = await self._http.request(verb, step.path, **options)
                return response.status_code, response.content
        except (httpx.HTTPError, RuntimeError, TimeoutError) as error:
            raise self._error(error, isinstance(error, TimeoutError), headers) from error


def _httpx() -> Any:
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise ImportError(
            "REST needs the package 'httpx', which is not installed. Install it with: pip install 'tfllm[rest]'",
            name="httpx",
        ) from error
    return httpx


def _at_most(seconds: float, end: _End) -> float:
    return seconds if end is None else min(seconds, end - time.monotonic())


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
