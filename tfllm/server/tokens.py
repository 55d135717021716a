"""Who may call: bearer tokens, from a file of hashed tokens or signed by somebody who is trusted (JWT)."""

import hashlib
import json
import logging
import os
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from tfllm.errors import ConfigError, PermissionDenied, Unauthenticated

logger = logging.getLogger(__name__)
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_REMEMBERED = 1000
_KEYS = {"sha256", "models", "admin"}
_Content = TypeVar("_Content")


@dataclass(frozen=True)
class Caller:
    """Who asks, and what for.

    Attributes:
        name: the name in logs and limits.
        models: the models it may use; `"*"` is all.
        admin: whether it may change what is served.
    """

    name: str
    models: frozenset[str] = frozenset()
    admin: bool = False

    def may_use(self, model: str) -> bool:
        """Whether it may use a model."""
        return "*" in self.models or model in self.models

    def require(self, model: str) -> None:
        """Check that it may use a model, whether there is one of that name or not.

        Raises:
            PermissionDenied: it may not.
        """
        if not self.may_use(model):
            raise PermissionDenied(f"Caller '{self.name}' may not use this model.")

    def require_admin(self) -> None:
        """Check that it may change what is served.

        Raises:
            PermissionDenied: it may not.
        """
        if not self.admin:
            raise PermissionDenied(f"Caller '{self.name}' may not change what is served.")


class Verifier(Protocol):
    """Says whose token it is."""

    def __call__(self, token: str) -> Caller | None:
        """Return the caller, or None for a token that it does not know or that does not hold."""


class _FollowedFile(Generic[_Content]):
    """What is in a file, read again when it changes; it is looked at each second at most.

    Args:
        path: the file.
        read: returns what is in it.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, path: Path, read: Callable[[], _Content]) -> None:
        self._path = path
        self._read = read
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._stamp = self._now()
        self._content = read()

    def content(self) -> _Content:
        """Return what is in the file now; what was in it, if it cannot be used any more."""
        if time.monotonic() - self._looked > 1:
            self._refresh()
        return self._content

    def _refresh(self) -> None:
        with self._lock:
            self._looked = time.monotonic()
            stamp = self._now()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                self._content = self._read()
            except ConfigError as error:
                logger.error("The tokens stay as they were: %s", error)

    def _now(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return status.st_mtime_ns, status.st_size, status.st_ino


class TokenFile:
    """The tokens of a TOML file, read again when it changes.

    Each table is a caller: `sha256` is the hash of its token in hexadecimal digits, `models` a list of names or
    `["*"]`, `admin` whether it may change what is served.

    Args:
        path: the file.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._callers = _FollowedFile(self._path, self._read)

    def __call__(self, token: str) -> Caller | None:
        """Return the caller of a token, if it is in the file."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        return self._callers.content().get(digest)

    def _read(self) -> dict[str, Caller]:
        try:
            tables = tomllib.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"Expected a TOML file with a table for each caller. Received: '{self._path}': {error}"
            ) from error
        callers = {}
        for name, table in tables.items():
            digest = _digest(table)
            if digest is None or not table.keys() <= _KEYS or not _names(table.get("models", [])):
                raise ConfigError(
                    f"Expected sha256 (64 hexadecimal digits), models (a list of names) and admin for each caller. "
                    f"Received: something else for '{name}' in '{self._path}'."
                )
            callers[digest] = Caller(name, frozenset(table.get("models", [])), table.get("admin") is True)
        return callers


class _Keys(NamedTuple):
    """The keys of a JWKS file, and the tokens that they have held for, with their ends."""

    keys: Mapping[str | None, Any]
    held: dict[str, tuple[float, Caller]]


class JwtVerifier:
    """Checks signed tokens (RFC 7519) with the public keys of a JWKS file, which is read again when it changes.

    The subject (`sub`) is the caller's name; the claims `models` (a list, or names with blanks between them) and
    `admin` are its rights. A token must have an end (`exp`).

    Args:
        path: the JWKS file.
        audience: the audience that a token must name; any without it.
        issuer: the issuer that a token must name; any without it.

    Raises:
        ConfigError: PyJWT is not installed, or the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], audience: str = "", issuer: str = "") -> None:
        try:
            import jwt
        except ImportError as error:
            raise ConfigError("Expected PyJWT to check signed tokens. Install it: pip install 'tfllm[jwt]'") from error
        self._jwt: Any = jwt
        self._audience = audience or None
        self._issuer = issuer or None
        self._path = Path(path)
        self._file = _FollowedFile(self._path, self._read)

    def __call__(self, token: str) -> Caller | None:
        """Return the caller of a token, if its signature, its time, its audience and its issuer hold."""
        keys, held = self._file.content()
        known = held.get(token)
        if known is not None and known[0] > time.time():
            return known[1]
        try:
            key = keys.get(self._jwt.get_unverified_header(token).get("kid"))
            if key is None or key.algorithm_name not in _ALGORITHMS:
                return None
            claims = self._jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
            )
        except (self._jwt.PyJWTError, UnicodeEncodeError, RecursionError):  # no UTF-8; a header that is nested deeply
            return None
        caller = Caller(str(claims["sub"]), frozenset(_claimed(claims)), claims.get("admin") is True)
        if len(held) >= _REMEMBERED:
            held.clear()
        held[token] = (float(claims["exp"]), caller)
        return caller

    def _read(self) -> _Keys:
        try:
            keys = self._jwt.PyJWKSet.from_dict(json.loads(self._path.read_text("utf-8"))).keys
            return _Keys({key.key_id: key for key in keys}, {})
        except (OSError, ValueError, AttributeError, TypeError, self._jwt.PyJWTError) as error:
            raise ConfigError(f"Expected a JWKS file. Received: '{self._path}': {error}") from error


def authenticate(metadata: Mapping[str, str], verifiers: Iterable[Verifier]) -> Caller:
    """Return whose request it is, by the `authorization` that came with it.

    Raises:
        Unauthenticated: there is no token, or it does not hold.
    """
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Expected a token: authorization: Bearer TOKEN")
    for verifier in verifiers:
        caller = verifier(token.strip())
        if caller is not None:
            return caller
    raise Unauthenticated("The token is not valid.")


def _digest(table: Any) -> str | None:
    text = table.get("sha256") if isinstance(table, dict) else None
    if not isinstance(text, str) or len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        return None
    return text.lower()


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _claimed(claims: Mapping[str, Any]) -> list[str]:
    models = claims.get("models", [])
    if isinstance(models, str):
        return models.split()
    return list(models) if _names(models) else []
