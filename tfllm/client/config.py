"""How a client connects: security, retries, keepalive, message sizes; frozen dataclasses that check themselves."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tfllm.errors import ConfigError

Pem = bytes | str | Path
Token = str | Callable[[], str]

_MIN_KEEPALIVE = 300.0  # what gRPC servers allow between pings of an idle connection unless they are told otherwise
_MAX_ATTEMPTS = 5  # gRPC's own bound
_MAX_MESSAGE = 2**31 - 1
_MAX_KEEPALIVE = 1e6  # what gRPC counts in milliseconds has 31 bits
_SHOWN = 200  # characters of a path in a message

_KEY = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")  # printable ASCII, no space at either end


@dataclass(frozen=True)
class TlsConfig:
    """An encrypted connection.

    Attributes:
        root_certificates: the certificates of those who may sign the server's: PEM as bytes or text, or a file's path;
            those of the system without it.
        certificate: this client's own certificate, for servers that ask for one (mTLS).
        private_key: the key of `certificate`.
        server_name: the name that the server's certificate must bear, where it is not the address.

    Raises:
        ConfigError: there is a certificate without a key, or a key without a certificate.

    Example:
        >>> TlsConfig(root_certificates="ca.pem", server_name="models.example.com").server_name
        'models.example.com'
    """

    root_certificates: Pem | None = None
    certificate: Pem | None = field(default=None, repr=False)
    private_key: Pem | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            here, missing = (
                ("certificate", "private_key") if self.private_key is None else ("private_key", "certificate")
            )
            raise ConfigError(f"Expected certificate and private_key together. Received: {here} without {missing}.")

    def pems(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Return the bytes of root certificates, private key and certificate, in gRPC's order.

        Raises:
            ConfigError: a file cannot be read.
        """
        return (
            _read("root_certificates", self.root_certificates),
            _read("private_key", self.private_key),
            _read("certificate", self.certificate),
        )


@dataclass(frozen=True)
class ConnectionConfig:
    """How a client connects and when it tries again; the defaults are meant for production.

    Attributes:
        tls: encryption; none without it.
        token: a bearer token, or a function that returns the one of the moment. It is called for every request, so
            it should remember its token. Sent only over TLS, or to this machine. Printable ASCII.
        metadata: further gRPC metadata of every request, keys in lower case, values of printable ASCII.
        compression: `"gzip"` or `"deflate"`, for slow networks.
        max_attempts: how often a request is sent at most (1 to 5). Only UNAVAILABLE and RESOURCE_EXHAUSTED are tried
            again, after a pause with jitter, and never past the timeout.
        initial_backoff: the seconds of the first pause; the next ones are twice as long each.
        max_backoff: the longest pause, also between attempts to reconnect.
        retry_budget: how many failures in a row stop all retrying until calls succeed again; 0 for no bound. It keeps
            a fleet of clients from pushing a server over that is down to its knees.
        keepalive: the seconds after which a silent connection with calls on it is probed; at least 300, because
            servers hang up on those who ask more often. `None` for never.
        wait_for_ready: wait for a connection, up to the timeout, instead of failing when there is none.
        max_request_bytes: the size that no request exceeds; long lists are split.
        hedge_after: the seconds without an answer after which a request is sent once more, to the next server; the
            first answer counts. It cuts the longest waits where one of several servers is slow. A request is sent at
            most `max_attempts` times, and the copies that did not answer first are at most half as many as the calls.
            `None` for never.
        breaker: the share of failed calls (0 to 1) at which one of several servers gets no calls for 5 seconds, longer
            each time. At least one server is always left. It rests while many calls fail for what they ask, and not
            for how a server does. `None` for never.
        health_service: the name that gRPC's health service knows the models by (`""` for the whole server); a server
            that says it is not serving gets no calls. `None` does not ask.
        refresh: the seconds between looks at what the servers' names stand for; new servers get their share then.
            `None` looks only when a connection breaks.
        request_ids: send an `x-request-id` of its own with each request, and name it in errors.

    Raises:
        ConfigError: a value cannot be right.

    Example:
        >>> ConnectionConfig(token="secret", tls=TlsConfig(), max_attempts=2).max_attempts
        2
    """

    tls: TlsConfig | None = None
    token: Token | None = field(default=None, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    compression: Literal["gzip", "deflate"] | None = None
    max_attempts: int = 4
    initial_backoff: float = 0.1
    max_backoff: float = 2.0
    retry_budget: int = 20
    keepalive: float | None = 330.0
    wait_for_ready: bool = False
    max_request_bytes: int = 32 * 2**20
    hedge_after: float | None = None
    breaker: float | None = 0.8
    health_service: str | None = None
    refresh: float | None = 5.0
    request_ids: bool = False

    def __post_init__(self) -> None:
        _within("max_attempts", self.max_attempts, 1, _MAX_ATTEMPTS)
        _within("initial_backoff", self.initial_backoff, 0.001, self.max_backoff)
        _within("max_backoff", self.max_backoff, 0.001, 3600)
        _within("retry_budget", self.retry_budget, 0, 1000)
        _within("max_request_bytes", self.max_request_bytes, 1, _MAX_MESSAGE)
        _within("hedge_after", 1.0 if self.hedge_after is None else self.hedge_after, 0.001, 3600)
        _within("breaker", 0.5 if self.breaker is None else self.breaker, 0.01, 1)
        _within("refresh", 1.0 if self.refresh is None else self.refresh, 0.05, 86400)
        if self.keepalive is not None and not _MIN_KEEPALIVE <= self.keepalive <= _MAX_KEEPALIVE:
            raise ConfigError(
                f"Expected at least {_MIN_KEEPALIVE:g} s (servers hang up on clients that ask more often) and at most "
                f"{_MAX_KEEPALIVE:g} s, or None. Received: keepalive={self.keepalive}."
            )
        if self.compression not in (None, "gzip", "deflate"):
            raise ConfigError(f"Expected 'gzip', 'deflate' or None. Received: compression={self.compression!r}.")
        _check_metadata(self.metadata)
        if self.token is not None and not callable(self.token):
            check_token_text(self.token)


def check_token_text(token: object) -> None:
    """Refuse a token that no header can hold, without showing it.

    Raises:
        ConfigError: it is no text of printable ASCII.
    """
    if not isinstance(token, str):
        raise ConfigError(f"Expected a token of type str. Received: a {type(token).__name__}.")
    if not _VALUE.fullmatch(token):
        raise ConfigError(
            "Expected a token of printable ASCII, without space or line break at its ends. "
            f"Received: {len(token)} characters with others among them. Use .strip() for a token that a file holds."
        )


def _check_metadata(metadata: Mapping[str, str]) -> None:
    wrong = [key for key in metadata if key != key.lower() or key.startswith(("grpc-", ":"))]
    if wrong:
        raise ConfigError(f"Expected metadata keys in lower case and none of gRPC's own. Received: {wrong}.")
    wrong = [key for key in metadata if not _KEY.fullmatch(key) or key.endswith("-bin")]
    if wrong:
        raise ConfigError(
            "Expected metadata keys of letters, digits, '_', '-' and '.', and none that ends in '-bin' (bytes). "
            f"Received: {wrong}."
        )
    for key, value in metadata.items():
        if not isinstance(value, str) or not _VALUE.fullmatch(value or "-"):
            kind = "others" if isinstance(value, str) else f"a {type(value).__name__}"
            raise ConfigError(
                "Expected metadata values of printable ASCII, without space or line break at their ends. "
                f"Received: {kind} for '{key}'."
            )


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"Expected {name} from {low:g} to {high:g}. Received: {name}={value}.")


def _read(name: str, pem: Pem | None) -> bytes | None:
    """Return a PEM's bytes; what may be a key is not shown."""
    if pem is None or isinstance(pem, bytes):
        return pem
    text = str(pem)
    if isinstance(pem, str) and "-----BEGIN" in text:
        return text.encode()
    try:
        return Path(pem).read_bytes()
    except (OSError, ValueError) as error:
        may_be_key = isinstance(pem, str) and (name == "private_key" or len(text) > _SHOWN or not text.isprintable())
        shown = f"a str of {len(text)} characters" if may_be_key else f"'{text}'"
        reason = error.strerror if isinstance(error, OSError) else "no path"
        raise ConfigError(f"Expected a PEM file, or its text. Received: {name}: {shown} ({reason}).") from None
