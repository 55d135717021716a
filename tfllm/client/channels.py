"""What gRPC is told about a connection: channel options, the service config with its retries, credentials, metadata."""

import json
import sys
import time
import uuid
from collections.abc import Iterable
from typing import Any

import grpc

from tfllm.client.addresses import Servers
from tfllm.client.config import ConnectionConfig, check_token_text
from tfllm.client.retries import RETRIED
from tfllm.errors import CallError, ConfigError, call_error
from tfllm.wire import messages

_KEEPALIVE_TIMEOUT_MS = 20_000
_CONNECT_TIMEOUT_MS = 5_000
_DNS_PAUSE_MS = 5_000  # how soon a name may be looked up again after a connection broke; gRPC waits 30 s
_RETRY_BUFFER_SPARE = 2**20  # beyond the largest request: gRPC does not repeat what it no longer has
_MOST_RETRY_BUFFER = 2**31 - 1

_BREAKER_LOOK = "1s"
_BREAKER_PAUSE, _BREAKER_LONGEST_PAUSE = "5s", "60s"
_BREAKER_LEAST_CALLS = 5  # of a server between two looks: fewer say nothing about it
_BREAKER_MOST_PERCENT = 50

_REQUEST_ID = "x-request-id"

_COMPRESSIONS = {None: None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}

_UNREACHABLE = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "DNS resolution failed",
    "Socket closed",
    "Connection reset",
)

Metadata = tuple[tuple[str, str], ...]


def service_config(config: ConnectionConfig, servers: Servers) -> str:
    """Return gRPC's service config: which calls are retried, how long it pauses, how servers share the calls.

    Calls that are hedged are not retried by gRPC too: each copy would be.
    """
    method: dict[str, Any] = {"name": [{}], "waitForReady": config.wait_for_ready}
    methods = [method]
    if config.hedge_after is not None:
        names = [dict(zip(("service", "method"), name[1:].split("/"), strict=True)) for name in messages.PREDICTIONS]
        methods.append({"name": names, "waitForReady": config.wait_for_ready})
    if config.max_attempts > 1:
        method["retryPolicy"] = {
            "maxAttempts": config.max_attempts,
            "initialBackoff": f"{config.initial_backoff:.3f}s",
            "maxBackoff": f"{config.max_backoff:.3f}s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": list(RETRIED),
        }
    settings: dict[str, Any] = {"loadBalancingConfig": _balancing(config, servers), "methodConfig": methods}
    if config.health_service is not None:
        settings["healthCheckConfig"] = {"serviceName": config.health_service}
    if config.retry_budget:
        # gRPC stops retrying once half of the tokens are gone: a failure costs one, a success gives a tenth back.
        settings["retryThrottling"] = {"maxTokens": 2 * config.retry_budget, "tokenRatio": 0.1}
    return json.dumps(settings)


def _balancing(config: ConnectionConfig, servers: Servers) -> list[dict[str, Any]]:
    """Return how servers share the calls: one is kept to, several take turns and are left out while they fail.

    gRPC asks servers for their health only where they take turns.
    """
    if not servers.balanced and config.health_service is None:
        return [{"pick_first": {}}]
    turns: list[dict[str, Any]] = [{"round_robin": {}}]
    if config.breaker is None:
        return turns
    breaker = {
        "interval": _BREAKER_LOOK,
        "baseEjectionTime": _BREAKER_PAUSE,
        "maxEjectionTime": _BREAKER_LONGEST_PAUSE,
        "maxEjectionPercent": _BREAKER_MOST_PERCENT,
        "failurePercentageEjection": {
            "threshold": round(100 * config.breaker),
            "minimumHosts": 2,
            "requestVolume": _BREAKER_LEAST_CALLS,
        },
        "childPolicy": turns,
    }
    return [{"outlier_detection_experimental": breaker}]


def channel_options(config: ConnectionConfig, servers: Servers) -> list[tuple[str, str | int]]:
    """Return the options of a channel."""
    max_backoff_ms = int(config.max_backoff * 1000)
    options: list[tuple[str, str | int]] = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.service_config", service_config(config, servers)),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.per_rpc_retry_buffer_size", min(config.max_request_bytes + _RETRY_BUFFER_SPARE, _MOST_RETRY_BUFFER)),
        ("grpc.initial_reconnect_backoff_ms", max(100, min(int(config.initial_backoff * 1000), max_backoff_ms))),
        ("grpc.min_reconnect_backoff_ms", _CONNECT_TIMEOUT_MS),
        ("grpc.max_reconnect_backoff_ms", max(100, max_backoff_ms)),
        ("grpc.dns_min_time_between_resolutions_ms", _DNS_PAUSE_MS),
    ]
    if config.keepalive is not None:
        options += [
            ("grpc.keepalive_time_ms", int(config.keepalive * 1000)),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
            ("grpc.keepalive_permit_without_calls", 0),
        ]
    if config.tls is not None and (name := config.tls.server_name or servers.name):
        options.append(("grpc.ssl_target_name_override", name))
    return options


def credentials(config: ConnectionConfig) -> grpc.ChannelCredentials | None:
    """Return the credentials of an encrypted channel, `None` for a plain one."""
    return None if config.tls is None else grpc.ssl_channel_credentials(*config.tls.pems())


def compression(config: ConnectionConfig) -> grpc.Compression | None:
    """Return gRPC's name of the compression."""
    return _COMPRESSIONS[config.compression]


def check_token(config: ConnectionConfig, servers: Servers) -> None:
    """Refuse to send a token where it could be overheard.

    Raises:
        ConfigError: there is a token, no TLS, and a server on another machine.
    """
    if config.token is not None and config.tls is None and not servers.local:
        raise ConfigError(
            f"Expected TLS where a token goes to another machine. Received: token without tls for '{servers.shown}'. "
            "Add tls=TlsConfig(...)."
        )


def request_metadata(config: ConnectionConfig, timeout: float | None) -> tuple[Metadata, float | None]:
    """Return the metadata of one request, and what is left of the timeout after the token was fetched.

    Raises:
        ConfigError: the token's function returned what no header can hold.
    """
    if config.token is None and not config.request_ids and not _tracing():
        return tuple(config.metadata.items()), timeout
    pairs = [*config.metadata.items(), *_trace_context()]
    if config.request_ids:
        pairs.append((_REQUEST_ID, uuid.uuid4().hex))
    if config.token is None:
        return tuple(pairs), timeout
    start = time.monotonic()
    token = config.token if isinstance(config.token, str) else config.token()
    check_token_text(token)
    left = None if timeout is None else max(0.0, timeout - (time.monotonic() - start))
    return (*pairs, ("authorization", f"Bearer {token}")), left


def _tracing() -> bool:
    return "opentelemetry.trace" in sys.modules


def _trace_context() -> Iterable[tuple[str, str]]:
    """Return OpenTelemetry's headers of the span that is open, where the program uses OpenTelemetry."""
    if not _tracing():
        return ()
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.items()


def request_id_hint(metadata: Metadata) -> str | None:
    """Return what to say about a failed request that had an id of its own."""
    found = dict(metadata).get(_REQUEST_ID)
    return None if found is None else f"Request id: {found}."


def error_of(error: Any, address: str) -> CallError:
    """Return the error of a gRPC status; what the server said stays word for word."""
    code, details = error.code().name, error.details() or ""
    if code == "UNAVAILABLE" and details.startswith(_UNREACHABLE):
        details = (
            f"No server can be reached at {address}. Check that it runs, that the port is its gRPC port "
            f"(8500 unless set; REST is another) and that no proxy or firewall is between. gRPC says: {details}"
        )
    return call_error(code, details, address=address)
