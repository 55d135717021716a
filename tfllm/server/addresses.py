"""The addresses that a gRPC server listens on."""

import contextlib
import os
import stat

import grpc

from tfllm.errors import ConfigError
from tfllm.server.config import ServerConfig


def open_port(server: grpc.Server, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
    """Let a gRPC server listen on a port, 0 for a free one, and return the port.

    Raises:
        ConfigError: it cannot be opened.
    """
    try:
        opened = _add(server, join_address(host, port), credentials)
    except RuntimeError as error:
        raise port_error(host, port) from error
    return opened


def open_socket(server: grpc.Server, path: str, credentials: grpc.ServerCredentials | None = None) -> None:
    """Let a gRPC server listen on a Unix socket too; a socket file that is there is replaced.

    Raises:
        ConfigError: it cannot be opened.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    try:
        _add(server, f"unix:{path}", credentials)
    except RuntimeError as error:
        raise ConfigError(
            f"Expected a path for a Unix socket. Received: grpc_socket_path='{path}', which cannot be opened."
        ) from error


def grpc_options(config: ServerConfig) -> list[tuple[str, int | str]]:
    """Return the settings of a gRPC server; what `grpc_channel_arguments` names wins.

    Raises:
        ConfigError: an argument is no `key=value`.
    """
    options: dict[str, int | str] = {
        "grpc.max_receive_message_length": config.max_request_bytes,
        "grpc.max_send_message_length": -1,
        "grpc.so_reuseport": 0,  # a second server on the port is an error, not a silent share
    }
    for argument in filter(None, config.grpc_channel_arguments.split(",")):
        key, equals, value = argument.partition("=")
        if not key or not equals:
            raise ConfigError(f"Expected grpc_channel_arguments as 'key=value,key=value'. Received: '{argument}'.")
        options[key] = int(value) if value.lstrip("-").isdecimal() else value
    return list(options.items())


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host in ("localhost", "::1", "[::1]") or host.startswith("127.")


def _add(server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    port: int = (
        server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    )
    return port


def port_error(host: str, port: int) -> ConfigError:
    """Return the error of a port that cannot be opened."""
    return ConfigError(
        f"Expected a free port to listen on. Received: host='{host}', port={port}, which cannot be opened "
        "(in use by another server, or not an address of this machine). Use port=0 for any free port."
    )


def join_address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
