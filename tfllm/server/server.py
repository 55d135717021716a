"""`serve` and the server that it starts: gRPC and REST over one engine."""

import functools
import logging
import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tfllm.errors import CallError, ConfigError, RepositoryError
from tfllm.server.access import Access, make_access
from tfllm.server.addresses import grpc_options, is_local, join_address, open_port, open_socket
from tfllm.server.batch_scheduler import make_scheduler
from tfllm.server.config import ServerConfig
from tfllm.server.discovery import find_models
from tfllm.server.engine import Engine
from tfllm.server.grpc_api import SERVICES, add_services
from tfllm.server.grpc_status import StatusInterceptor
from tfllm.server.loading import Loader
from tfllm.server.manager import ModelManager
from tfllm.server.metrics import Metrics, metrics_path
from tfllm.server.model_config import ModelConfig, VersionPolicy
from tfllm.server.observers import Observer, Observers
from tfllm.server.page import Page
from tfllm.server.polling import ConfigFile, Poller
from tfllm.server.pools import CountingPool
from tfllm.server.profiling import add_profiler
from tfllm.server.recorders import make_recorders
from tfllm.server.rest_api import RestApi
from tfllm.server.rest_server import RestServer
from tfllm.server.tls import Tls, make_tls

logger = logging.getLogger(__name__)
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_NAMES = ("", "ModelService", "PredictionService")


def serve(
    path: str | os.PathLike[str] | None = None,
    *,
    port: int = 8500,
    rest_api_port: int | None = None,
    host: str = "127.0.0.1",
    model_name: str | None = None,
    version_policy: str = "latest",
    model_config_file: str | os.PathLike[str] | None = None,
    config: ServerConfig | None = None,
) -> "Server":
    """Serve SavedModels over TensorFlow Serving's protocol, and return once they are loaded.

    Of a path, the versions that `tfllm models label` labelled are served too, and labels are followed.

    Args:
        path: a folder of models (with `<name>/<version>/`), or the base folder of one (with `<version>/`).
        port: the gRPC port; 0 takes a free one, see `Server.port`.
        rest_api_port: the REST port; 0 takes a free one, see `Server.rest_api_port`; no REST without it.
        host: the address to listen on; `"0.0.0.0"` for all networks.
        model_name: a name for a single model, instead of its folder's.
        version_policy: the versions to serve of each model: `"latest"`, `"latest:N"`, `"all"` or `"specific:N,N"`.
        model_config_file: TensorFlow Serving's model config file, instead of a path.
        config: everything else.

    Returns:
        the running server.

    Raises:
        RepositoryError: nothing servable is at the path, or a model cannot be loaded.
        ConfigError: an argument cannot be right, or the port is taken.

    Example:
        >>> with serve("saved_models", port=8500) as server:
        ...     server.wait()
    """
    if (path is None) == (model_config_file is None):
        raise ConfigError(
            f"Expected a path or a model_config_file. Received: path={path!r}, model_config_file={model_config_file!r}."
        )
    file = None
    if path is None:
        file = ConfigFile(model_config_file or "")
        models = file.read()
    else:
        policy = VersionPolicy.parse(version_policy)
        found = find_models(path, model_name)
        models = [ModelConfig(name, base, policy, follows_labels=True) for name, base in found.items()]
    server = Server(host=host, port=port, rest_api_port=rest_api_port, config=config or ServerConfig())
    server.load(models, file)
    return server


class Server:
    """A running server; made by `serve`.

    It runs in threads of this process and ends with it: a script that only serves calls `wait`. The port is open from
    the start, and health checks hear NOT_SERVING until the models are loaded.

    Args:
        host: the address to listen on.
        port: the gRPC port, 0 for a free one.
        rest_api_port: the REST port, 0 for a free one, None for no REST.
        config: the other settings.

    Attributes:
        host: the address it listens on.
        port: the gRPC port it listens on.
        rest_api_port: the REST port it listens on, if it does.
        metrics: what it counts.

    Raises:
        ConfigError: the port cannot be opened.

    Example:
        >>> with tfllm.serve("saved_models", port=0) as server:  # doctest: +SKIP
        ...     print(server.address)
    """

    def __init__(self, *, host: str, port: int, rest_api_port: int | None, config: ServerConfig) -> None:
        self._config = config
        access, tls = make_access(config), make_tls(config)
        if tls is None and not is_local(host):
            logger.warning("Listening on %s without TLS: what is sent can be read and changed on the way.", host)
        self._recorders = make_recorders(config)
        workers = config.grpc_max_threads or (64 if config.enable_batching else 4 * (os.cpu_count() or 1))
        self._workers = CountingPool(workers, "tfllm-grpc")
        self._engine = Engine(config.max_requests_per_model, share=max(1, workers // 2))
        self._batching = make_scheduler(config, lambda event: self.metrics.on_batch(event))
        self.metrics = Metrics(self._engine, dict if self._batching is None else self._batching.waiting)
        self._observers = Observers([self.metrics, *self._recorders])
        self._manager = ModelManager(
            self._engine,
            Loader(config, self._batching, self.metrics.on_warmup, lambda: self._engine.busy),
            allow_labels_for_unavailable=config.allow_version_labels_for_unavailable_models,
            on_change=self._update_health,
        )
        self._pollers: list[Poller] = []
        self._ready = False
        # gRPC's way without threads stops the whole server when a watcher leaves while a state changes
        self._health = health.HealthServicer(experimental_non_blocking=False)
        self._told: dict[str, bool] = {}
        self._update_health()
        self.host = host
        self.port = self._open_grpc(port, access, tls)
        self._rest = None if rest_api_port is None else self._open_rest(rest_api_port, access, tls)
        self.rest_api_port = None if self._rest is None else self._rest.port
        self._grpc.start()

    def _open_grpc(self, port: int, access: Access, tls: Tls | None) -> int:
        config = self._config
        self._interceptor = StatusInterceptor(
            self._observers, access, self._workers, config.max_waiting_requests, config.grpc_message_seconds
        )
        self._grpc = grpc.server(self._workers, interceptors=[self._interceptor], options=grpc_options(config))
        as_content = config.enable_serialization_as_tensor_content
        add_services(self._grpc, self._engine, self._manager, as_content=as_content)
        if config.enable_profiler:
            tokens = bool(config.auth_token_file or config.auth_jwks_file)
            add_profiler(self._grpc, tokens=tokens, folder=config.profile_dir)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
        credentials = None if tls is None else tls.grpc_credentials()
        opened = open_port(self._grpc, self.host, port, credentials)
        if config.grpc_socket_path:
            open_socket(self._grpc, config.grpc_socket_path, credentials)
        return opened

    @property
    def address(self) -> str:
        """Where a client on this machine reaches the server, as `host:port`."""
        return join_address("localhost" if self.host in ("0.0.0.0", "::", "[::]") else self.host, self.port)

    @property
    def models(self) -> dict[str, tuple[int, ...]]:
        """The available versions of each model, oldest first."""
        return self._engine.models

    def load(self, models: Sequence[ModelConfig], file: ConfigFile | None = None) -> None:
        """Load all models, then tell health checks that they can be called; stop if one cannot be loaded.

        Args:
            models: the models.
            file: what they were read from, to follow its changes.

        Raises:
            RepositoryError: a version cannot be loaded; the message names each such version and says why.
        """
        for model in models:
            self._set_health(model.name, False)
        try:
            self._load(models)
        except BaseException:
            self.stop(0)
            raise
        self._ready = True
        self._update_health()
        config = self._config
        if config.file_system_poll_wait_seconds > 0:
            self._pollers.append(Poller(self._manager.poll, config.file_system_poll_wait_seconds, "tfllm-versions"))
        if file is not None and config.model_config_file_poll_wait_seconds > 0:
            follow = functools.partial(file.follow, self._manager.reload)
            self._pollers.append(Poller(follow, config.model_config_file_poll_wait_seconds, "tfllm-config"))
        logger.info("Serving %s at %s", self.models, self.address)

    def observe(self, observer: Observer) -> None:
        """Tell an observer of each request from now on."""
        self._observers.add(observer)

    def wait(self) -> None:
        """Block until the server is stopped."""
        self._grpc.wait_for_termination()

    def stop(self, grace: float | None = None) -> None:
        """Take no new requests, let those under way end, and free the models. A second call does nothing.

        Args:
            grace: the seconds that requests under way may still take, `shutdown_seconds` without it; after that they
                are cancelled.
        """
        end = time.monotonic() + (self._config.shutdown_seconds if grace is None else grace)
        self._ready = False
        self._update_health()
        for poller in self._pollers:
            poller.end()
        stopped = self._grpc.stop(_left(end))  # from here on neither port takes a connection
        if self._rest is not None:
            self._rest.stop(_left(end))
        stopped.wait()
        while self._pollers:
            self._pollers.pop().stop(_left(end))
        self._workers.shutdown(wait=False)
        self._interceptor.stop()
        for recorder in self._recorders:
            recorder.close()
        self._engine.close()
        if self._batching is not None:
            self._batching.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _open_rest(self, port: int, access: Access, tls: Tls | None) -> RestServer:
        config = self._config
        api = RestApi(
            self._engine,
            lambda: self._ready,
            metrics_path(config.monitoring_config_file),
            self.metrics.text,
            Page(self._engine, self._observers),
        )
        return RestServer(
            api,
            host=self.host,
            port=port,
            config=config,
            observers=self._observers,
            access=access,
            tls=None if tls is None else tls.context(),
        )

    def _load(self, models: Sequence[ModelConfig]) -> None:
        try:
            failed = self._manager.reload(models)
        except CallError as error:
            raise RepositoryError(f"Failed to start server. Error: {error.details}") from error
        if failed:
            reasons = "; ".join(f"'{item.source.path}': {item.error.details}" for item in failed if item.error)
            raise RepositoryError(f"Expected SavedModels that TensorFlow can load. Received: {reasons}")

    def _update_health(self) -> None:
        states = {name: bool(versions) for name, versions in self._engine.models.items()}
        whole = _SERVICE_NAMES if self._config.enable_grpc_healthcheck_service else ("",)
        for name, available in {**states, **dict.fromkeys(whole, True)}.items():
            self._set_health(name, self._ready and available)

    def _set_health(self, name: str, serving: bool) -> None:
        if self._told.get(name) != serving:  # watchers hear of changes only
            self._told[name] = serving
            self._health.set(name, _SERVING if serving else _NOT_SERVING)


def _left(end: float) -> float:
    return max(0.0, end - time.monotonic())
