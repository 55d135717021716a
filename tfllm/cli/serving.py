"""`tfllm serve`."""

import dataclasses
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import click

from tfllm.cli.options import field_descriptions
from tfllm.cli.output import say
from tfllm.cli.quiet import import_tensorflow
from tfllm.server.config import ServerConfig

if TYPE_CHECKING:
    from tfllm.server.server import Server

_INTERRUPTED = 130  # as a shell has it, of Ctrl-C
_ENGINES = click.Choice(["embedded", "tensorflow_serving"])
_FORMATS = click.Choice(["text", "json"])
_LEVELS = click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False)
_NOT_NEEDED = (
    "flush_filesystem_caches",
    "load_retry_interval_micros",
    "max_num_load_retries",
    "mixed_precision",
    "num_load_threads",
    "num_tflite_interpreters_per_pool",
    "num_tflite_pools",
    "num_unload_threads",
    "per_process_gpu_memory_fraction",
    "remove_unused_fields_from_bundle_metagraph",
    "skip_initialize_tpu",
    "tensorflow_session_config_file",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
)
"""Flags of TensorFlow Serving that say how it does its work, not what it answers."""


_NOT_HERE = (
    "enable_signature_method_name_check",
    "platform_config_file",
    "thread_pool_factory_config_file",
    "use_alts_credentials",
)
"""Flags of TensorFlow Serving that the embedded server cannot follow, and that must not be lost without a word."""
_ENGINE_FLAGS = "tfllm.cli.serving.engine_flags"


def _keep_engine_flag(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.meta.setdefault(_ENGINE_FLAGS, {})[parameter.name] = value


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take the flags that only TensorFlow Serving's own engine has a use for; `_engine_flags` returns them."""
    for name in (*_NOT_NEEDED, *_NOT_HERE):
        names = [f"--{name}", name]
        function = click.option(
            *names, is_flag=False, flag_value="true", hidden=True, expose_value=False, callback=_keep_engine_flag
        )(function)
    return function


def _engine_flags(engine: str) -> dict[str, str]:
    """Return the flags of TensorFlow Serving's own engine that were given; the embedded one says that it has none."""
    flags: dict[str, str] = click.get_current_context().meta.get(_ENGINE_FLAGS, {})
    if engine != "embedded":
        return flags
    for name, value in flags.items():
        if name in _NOT_HERE and value.lower() not in ("", "false", "0"):
            raise click.UsageError(f"--{name} is not of the embedded server. Leave it out, or use another --engine.")
        say(f"--{name} changes nothing here: it is of TensorFlow Serving's own engine.")
    return {}


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add one option for each field of `ServerConfig`, under TensorFlow Serving's name and with dashes."""
    descriptions = field_descriptions(ServerConfig)
    for field in reversed(dataclasses.fields(ServerConfig)):
        names = [f"--{field.name.replace('_', '-')}", f"--{field.name}", field.name]
        text = f"{descriptions[field.name]}  [default: {field.default!r}]"
        if isinstance(field.default, bool):  # `--flag` and `--flag=true`
            option = click.option(*names, is_flag=False, flag_value="true", type=bool, default=field.default, help=text)
        else:
            option = click.option(*names, type=type(field.default), default=field.default, help=text)
        function = option(function)
    return function


@click.command()
@click.argument("path", type=click.Path(), required=False)
@click.option("--port", default=8500, show_default=True, help="Port for gRPC; 0 takes a free one.")
@click.option(
    "--rest-api-port", "--rest_api_port", type=int, default=0, show_default=True, help="Port for REST; 0 for no REST."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--model-name", "--model_name", help="Name to serve one model folder under.")
@click.option("--model-base-path", "--model_base_path", help="The folder of one model, instead of PATH.")
@click.option("--model-config-file", "--model_config_file", help="TensorFlow Serving's model config file.")
@click.option(
    "--version-policy",
    default="latest",
    show_default=True,
    help="Versions to serve of each model under PATH, beside those that have a label: latest, latest:N, all or"
    " specific:N,N.",
)
@click.option(
    "--engine",
    type=_ENGINES,
    default="embedded",
    show_default=True,
    help="What serves: this program, or the tensorflow_model_server on the PATH with these settings as its flags.",
)
@click.option(
    "--log-format",
    "--log_format",
    type=_FORMATS,
    default="text",
    show_default=True,
    help="Lines for people or programs.",
)
@click.option("--log-level", "--log_level", type=_LEVELS, default="INFO", show_default=True, help="The least severity.")
@config_options
@engine_options
def serve(
    path: str | None,
    port: int,
    rest_api_port: int,
    host: str,
    model_name: str | None,
    model_base_path: str | None,
    model_config_file: str | None,
    version_policy: str,
    engine: str,
    log_format: str,
    log_level: str,
    **settings: Any,
) -> None:
    """Serve models with the protocol of TensorFlow Serving.

    PATH is a folder of models, or the folder of one model; saved_models if nothing else names the models. The flags
    are those of TensorFlow Serving and may be written with underscores. Stop with Ctrl-C or SIGTERM; calls in flight
    are finished.
    """
    if sum(place is not None for place in (path, model_base_path, model_config_file)) > 1:
        raise click.UsageError("Give PATH, --model_base_path or --model_config_file, not two of them.")
    if model_base_path is not None:
        model_name = model_name or "default"
    place = None if model_config_file else path or model_base_path or "saved_models"
    flags = _engine_flags(engine)
    which = {"model_name": model_name, "version_policy": version_policy}
    where = {"host": host, "port": port, "model_config_file": model_config_file, "config": ServerConfig(**settings)}
    if engine == "embedded":
        _serve_embedded(place, log_format, log_level, {**which, **where, "rest_api_port": rest_api_port or None})
    else:
        where |= {"rest_api_port": rest_api_port, "engine_flags": flags}
        _serve_with_tensorflow_serving(place, model_name, version_policy, where)


def _serve_embedded(place: str | None, log_format: str, log_level: str, arguments: dict[str, Any]) -> None:
    import signal

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # first: loading can take minutes
    try:
        say("Loading TensorFlow and the models; this takes some seconds.")
        with _loaded(place, log_format, log_level, arguments) as server:
            names = ", ".join(server.models)
            rest = f", REST on port {server.rest_api_port}" if server.rest_api_port else ""
            click.echo(f"Serving {names} on {server.address} (gRPC{rest}).")
            try:
                server.wait()
            except KeyboardInterrupt:
                say("Stopping.")
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _loaded(place: str | None, log_format: str, log_level: str, arguments: dict[str, Any]) -> "Server":
    """Return the running server; a signal meanwhile ends the process.

    Python hears signals between two steps of its main thread, and one step of TensorFlow can take minutes. So it loads
    in another thread, which cannot be stopped and need not be: nobody has been told that the server is there.
    """

    def load() -> "Server":
        import tfllm

        import_tensorflow("server")
        from tfllm.server.logging_format import set_up_logging

        set_up_logging(log_format, log_level)
        return tfllm.serve(place, **arguments)

    try:
        loading = ThreadPoolExecutor(1, thread_name_prefix="tfllm-load").submit(load)
        wait([loading])
    except (SystemExit, KeyboardInterrupt) as stop:
        say("Stopping.")
        os._exit(0 if isinstance(stop, SystemExit) else _INTERRUPTED)
    return loading.result()


def _serve_with_tensorflow_serving(
    place: str | None, model_name: str | None, version_policy: str, arguments: dict[str, Any]
) -> None:
    from tfllm.server.discovery import configured_models
    from tfllm.server.model_config import VersionPolicy
    from tfllm.server.model_server import run_model_server

    policy = VersionPolicy.parse(version_policy)
    models = [] if place is None else configured_models(place, model_name, policy)
    sys.exit(run_model_server(models, **arguments))
