"""Options of the verbs that call a server: how it is reached, and which version of a model is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfllm.errors import ConfigError

Command = Callable[..., Any]


def connection_options(function: Command) -> Command:
    """Add the options of TLS, token and metadata; `connection` makes a ConnectionConfig of them."""
    for option in (
        click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Metadata of each request; any number."),
        click.option("--token-file", type=click.Path(), help="File with a bearer token; read anew for each request."),
        click.option("--tls-key", type=click.Path(), help="Key of --tls-cert, as a PEM file."),
        click.option("--tls-cert", type=click.Path(), help="Own certificate, as a PEM file, for mTLS."),
        click.option("--tls-ca", type=click.Path(), help="Use TLS, with the roots of this PEM file."),
        click.option("--tls", is_flag=True, help="Use TLS, with the roots of the system."),
    ):
        function = option(function)
    return function


def version_options(function: Command) -> Command:
    """Add the options that say which version and signature of a model are asked."""
    for option in (
        click.option("--signature", help="Signature to call; serving_default if not given."),
        click.option("--label", help="Version label to ask, such as stable, instead of a number."),
        click.option("--version", "model_version", type=int, help="Version to ask; the newest if not given."),
    ):
        function = option(function)
    return function


def connection(options: dict[str, Any], **settings: Any) -> Any:
    """Return the ConnectionConfig of the options of `connection_options`, which are taken out.

    Args:
        options: the options of the verb.
        settings: further settings of the connection.

    Raises:
        ConfigError: options contradict each other, or a file cannot be read.
    """
    from tfllm.client.config import ConnectionConfig, TlsConfig

    wanted, root, certificate, key = (options.pop(name) for name in ("tls", "tls_ca", "tls_cert", "tls_key"))
    token_file, pairs = options.pop("token_file"), options.pop("metadata")
    tls = None
    if wanted or root or certificate or key:
        tls = TlsConfig(*(None if file is None else Path(file) for file in (root, certificate, key)))
        tls.pems()  # a file that cannot be read is named before anything is done
    token = None if token_file is None else _token_of(Path(token_file))
    return ConnectionConfig(tls=tls, token=token, metadata=dict(map(_pair, pairs)), **settings)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"Expected --metadata key=value. Received: --metadata {text}.")
    return key, value


def _token_of(file: Path) -> Callable[[], str]:
    """Return what reads a token, which must be there now; whoever renews tokens writes the file anew.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """

    def read() -> str:
        try:
            token = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Expected a file with a token. Received: '{file}' ({error}).") from error
        if not token:
            raise ConfigError(f"Expected a file with a token. Received: '{file}', which is empty.")
        return token

    read()
    return read
