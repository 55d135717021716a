"""TLS for gRPC and REST: certificates from TensorFlow Serving's file or from PEM files, read again when they change."""

import contextlib
import logging
import os
import ssl
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from tfllm.errors import ConfigError
from tfllm.server.config import ServerConfig
from tfllm.server.text_protos import read_text_proto

logger = logging.getLogger(__name__)
_Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True, repr=False)
class Certificates:
    """What a server proves itself with, and whom it asks for proof; all PEM.

    Attributes:
        key: the private key.
        certificate: the certificate, and those that link it to a root.
        client_ca: who may sign the certificates of clients; empty for nobody in particular.
        ask_clients: whether a client must have a certificate.
    """

    key: bytes
    certificate: bytes
    client_ca: bytes
    ask_clients: bool


class Tls:
    """The certificates of a server, as they are now.

    Args:
        config: the server's settings.

    Raises:
        ConfigError: the files cannot be read, or do not fit each other.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._stamp = self._stamps()
        self._certificates = self._read()
        self._context = make_context(self._certificates)
        self._told_grpc = self._certificates

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return credentials for a gRPC port; each handshake asks whether the certificates have changed."""
        first = self._certificates
        return grpc.dynamic_ssl_server_credentials(_for_grpc(first), self._changed_for_grpc, first.ask_clients)

    def context(self) -> ssl.SSLContext:
        """Return a context for a REST port; each handshake takes the certificates as they are then."""
        first = make_context(self._certificates)
        first.sni_callback = self._use_current
        return first

    def refresh(self) -> Certificates:
        """Return the certificates, read again if a file has changed; files that cannot be used change nothing."""
        with self._lock:
            stamp = self._stamps()
            if stamp != self._stamp:
                try:
                    certificates = self._read()
                    self._context = make_context(certificates)
                except ConfigError as error:
                    logger.error("The certificates stay as they were: %s", error)
                else:
                    self._certificates = certificates
                    logger.info("The certificates have been read again.")
                self._stamp = stamp
            return self._certificates

    def _use_current(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        self.refresh()
        connection.context = self._context

    def _changed_for_grpc(self) -> Any:
        certificates = self.refresh()
        if certificates is self._told_grpc:
            return None
        self._told_grpc = certificates
        return _for_grpc(certificates)

    def _files(self) -> list[str]:
        config = self._config
        files = [config.ssl_config_file, config.tls_certificate_file, config.tls_key_file, config.tls_client_ca_file]
        return [file for file in files if file]

    def _stamps(self) -> _Stamp:
        found = []
        for file in self._files():
            with contextlib.suppress(OSError):  # gone for now: reading it says so
                status = os.stat(file)
                found.append((status.st_mtime_ns, status.st_size))
        return tuple(found)

    def _read(self) -> Certificates:
        config = self._config
        if config.ssl_config_file:
            message = read_text_proto(config.ssl_config_file, "SSLConfig")
            texts = (message.server_key, message.server_cert, message.custom_ca)
            return Certificates(*(text.encode() for text in texts), ask_clients=message.client_verify)
        key, certificate = _bytes(config.tls_key_file), _bytes(config.tls_certificate_file)
        client_ca = _bytes(config.tls_client_ca_file) if config.tls_client_ca_file else b""
        return Certificates(key, certificate, client_ca, ask_clients=bool(client_ca))


def make_tls(config: ServerConfig) -> Tls | None:
    """Return the certificates that a server's settings name, if they do.

    Raises:
        ConfigError: the settings contradict each other, or the files cannot be used.
    """
    own = (config.tls_certificate_file, config.tls_key_file, config.tls_client_ca_file)
    if config.ssl_config_file and any(own):
        raise ConfigError("Expected ssl_config_file or the tls_ files. Received: both.")
    if any(own) and not (config.tls_certificate_file and config.tls_key_file):
        raise ConfigError("Expected tls_certificate_file and tls_key_file together. Received: not both.")
    return Tls(config) if config.ssl_config_file or any(own) else None


def make_context(certificates: Certificates) -> ssl.SSLContext:
    """Return a context of the standard library.

    Raises:
        ConfigError: key, certificate and roots do not fit each other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        with _file(certificates.certificate) as certificate, _file(certificates.key) as key:
            context.load_cert_chain(certificate, key, password=_no_password)
        if certificates.client_ca:
            context.load_verify_locations(cadata=certificates.client_ca.decode("ascii"))
        elif certificates.ask_clients:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"Expected a certificate, its private key without a password, and roots, all PEM. Received: {error}."
        ) from error
    if certificates.ask_clients:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _for_grpc(certificates: Certificates) -> Any:
    pair = (certificates.key, certificates.certificate)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=certificates.client_ca or None)


def _no_password() -> str:
    raise ValueError("a key with a password")


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """Give a file that only this user can read; the standard library takes certificates from files only."""
    with tempfile.NamedTemporaryFile(prefix="tfllm-") as file:
        file.write(content)
        file.flush()
        yield file.name


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"Expected a PEM file. Received: '{path}': {error}") from error
