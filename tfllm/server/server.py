"""The embedded server: load models, answer on a port, stop in order."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tfllm.errors import ConfigError, RepositoryError
from tfllm.server.discovery import find_models
from tfllm.server.engine import Engine
from tfllm.server.grpc_api import add_services
from tfllm.server.grpc_status import StatusInterceptor
from tfllm.server.servable import Servable, SessionThreads
from tfllm.server.versions import choose_versions

logger = logging.getLogger(__name__)
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a silent share
]
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def serve(
    path: str | os.PathLike[str],
    *,
    port: int = 8500,
    host: str = "127.0.0.1",
    model_name: str | None = None,
    version_policy: str = "latest",
    max_workers: int | None = None,
    inter_op_threads: int = 1,
    intra_op_threads: int = 0,
) -> "Server":
    """Serve SavedModels over TensorFlow Serving's gRPC protocol, and return once they are loaded.

    Args:
        path: a folder of models (with `<name>/<version>/`), or the base folder of one (with `<version>/`).
        port: the gRPC port; 0 takes a free one, see `Server.port`.
        host: the address to listen on; `"0.0.0.0"` for all networks.
        model_name: a name for a single model, instead of its folder's.
        version_policy: `"latest"` to serve the newest version of each model, `"all"` to serve every version.
        max_workers: how many requests are worked on at once, further ones wait; 4 a core without it.
        inter_op_threads: how many TensorFlow operators run at once, for all models together.
        intra_op_threads: how many threads an operator uses; 0 for one a core.

    Returns:
        the running server.

    Raises:
        RepositoryError: nothing servable is at the path, or a model cannot be loaded.
        ConfigError: an argument cannot be right, or the port is taken.

    Example:
        >>> with serve("saved_models", port=8500) as server:
        ...     server.wait()
    """
    names = find_models(path, model_name)
    engine = Engine({name: choose_versions(name, base, version_policy) for name, base in names.items()})
    server = Server(engine, host=host, port=port, max_workers=max_workers or 4 * (os.cpu_count() or 1))
    server.load(SessionThreads(inter_op_threads, intra_op_threads))
    return server


class Server:
    """A running server; made by `serve`.

    It runs in threads of this process and ends with it: a script that only serves calls `wait`. The port is open from
    the start, and health checks hear NOT_SERVING until the models are loaded.

    Args:
        engine: what answers.
        host: the address to listen on.
        port: the port, 0 for a free one.
        max_workers: how many requests are worked on at once.

    Attributes:
        host: the address it listens on.
        port: the port it listens on.

    Raises:
        ConfigError: the port cannot be opened.

    Example:
        >>> with tfllm.serve("saved_models", port=0) as server:  # doctest: +SKIP
        ...     print(server.address)
    """

    def __init__(self, engine: Engine, *, host: str, port: int, max_workers: int) -> None:
        self._engine = engine
        self._health = health.HealthServicer()
        self._set_health(_NOT_SERVING)
        self._workers = ThreadPoolExecutor(max_workers, thread_name_prefix="tfllm-server")
        self._grpc = grpc.server(self._workers, interceptors=[StatusInterceptor()], options=_OPTIONS)
        add_services(self._grpc, engine)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        self.host = host
        self.port = _open_port(self._grpc, host, port)
        self._grpc.start()

    @property
    def address(self) -> str:
        """Where a client on this machine reaches the server, as `host:port`."""
        return _join("localhost" if self.host in ("0.0.0.0", "::", "[::]") else self.host, self.port)

    @property
    def models(self) -> dict[str, tuple[int, ...]]:
        """The available versions of each model, oldest first."""
        return self._engine.models

    def load(self, threads: SessionThreads) -> None:
        """Load all models, then tell health checks that they can be called; stop if one cannot be loaded.

        Raises:
            RepositoryError: a version cannot be loaded; the message names each such version and says why.
        """
        try:
            failed = self._engine.load(lambda source: Servable(source, threads))
            if failed:
                reasons = "; ".join(f"'{item.source.path}': {item.error.details}" for item in failed if item.error)
                raise RepositoryError(f"Expected SavedModels that TensorFlow can load. Received: {reasons}")
        except BaseException:
            self.stop(0)
            raise
        self._set_health(_SERVING)
        logger.info("Serving %s at %s", self.models, self.address)

    def wait(self) -> None:
        """Block until the server is stopped."""
        self._grpc.wait_for_termination()

    def stop(self, grace: float = 10.0) -> None:
        """Take no new requests, let those under way end, and free the models. A second call does nothing.

        Args:
            grace: the seconds that requests under way may still take; after that they are cancelled.
        """
        self._set_health(_NOT_SERVING)
        self._grpc.stop(grace).wait()
        self._workers.shutdown(wait=False)
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _set_health(self, state: int) -> None:
        for name in ("", *self._engine.models):
            self._health.set(name, state)


def _open_port(server: grpc.Server, host: str, port: int) -> int:
    try:
        opened: int = server.add_insecure_port(_join(host, port))
    except RuntimeError as error:
        raise ConfigError(
            f"Expected a free port to listen on. Received: host='{host}', port={port}, which cannot be opened "
            "(in use by another server, or not an address of this machine). Use port=0 for any free port."
        ) from error
    return opened


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
