"""TensorFlow Serving's configuration files for a folder of models: models, batching, monitoring and TLS.

They are for `tensorflow_model_server` and for `tfllm serve` alike. No TensorFlow is needed to write them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from google.protobuf.text_encoding import CEscape

from tfllm.errors import ConfigError
from tfllm.repository import list_versions
from tfllm.server.discovery import configured_models
from tfllm.server.model_config import ModelConfig, VersionPolicy

METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class BatchingSettings:
    """How requests are gathered into batches.

    Attributes:
        max_batch_size: how many texts a batch holds at most.
        batch_timeout_micros: how long a batch that is not full waits for more, in microseconds.
        num_batch_threads: how many batches run at once; 0 for one a core of this machine.
        max_enqueued_batches: how many batches may wait; requests beyond them are refused. 0 for 4 a batch thread.
    """

    max_batch_size: int = 32
    batch_timeout_micros: int = 1000
    num_batch_threads: int = 0
    max_enqueued_batches: int = 0

    @property
    def threads(self) -> int:
        """How many batches run at once."""
        return self.num_batch_threads or os.cpu_count() or 1

    @property
    def queue(self) -> int:
        """How many batches may wait."""
        return self.max_enqueued_batches or 4 * self.threads

    @property
    def requests(self) -> int:
        """How many requests of one text can be under way or wait: the number of server threads that needs."""
        return self.max_batch_size * (self.threads + self.queue)


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files of a server.

    Attributes:
        key: the server's private key.
        certificate: the server's certificate, with those between it and its authority.
        client_authority: the certificate of the authority that clients must have theirs from; none asks for none.
    """

    key: Path
    certificate: Path
    client_authority: Path | None = None


@dataclass(frozen=True)
class ServingFiles:
    """What was written, and how to start a server with it.

    Attributes:
        paths: file name -> where it is.
        flags: the flags of `tensorflow_model_server` that go with the files.
    """

    paths: Mapping[str, Path]
    flags: Sequence[str]


def write_configs(
    root: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    base_path: str | None = None,
    config_path: str | None = None,
    version_policy: str = "latest",
    labels: Mapping[str, Mapping[str, int]] | None = None,
    batching: BatchingSettings | None = None,
    tls: TlsFiles | None = None,
) -> ServingFiles:
    """Write models.config, batching.config, monitoring.config and, with TLS, ssl.config.

    Args:
        root: a folder of models, or the folder of one.
        output: the folder to write to.
        base_path: where `root` lies for the server, such as `/models` in a container; as it is here if not given.
        config_path: where `output` lies for the server; as it is here if not given.
        version_policy: the versions to serve: `latest`, `latest:N`, `all` or `specific:N,N`.
        labels: model name -> label -> version, beside those that `tfllm models label` has given. A version with a label
            of the latter is served too, whatever the policy.
        batching: how requests are gathered.
        tls: the files of a server that listens with TLS.

    Returns:
        the files, and the flags that go with them.

    Raises:
        RepositoryError: there are no models in `root`.
        ConfigError: a label is for a model or version that is not there, or a path or number cannot be right.

    Example:
        >>> write_configs("saved_models", "serving/config", base_path="/models").flags[0]
        '--port=8500'
    """
    models = _models(root, base_path, VersionPolicy.parse(version_policy), labels or {})
    batching = _checked(batching or BatchingSettings())
    folder = Path(output)
    seen_as = config_path or str(folder.resolve())
    flags = _flags(seen_as, batching, with_labels=any(model.labels for model in models), with_tls=tls is not None)
    contents = {
        "models.config": models_config(models, flags),
        "batching.config": batching_config(batching),
        "monitoring.config": monitoring_config(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content, "utf-8")
    if tls is not None:
        contents["ssl.config"] = ssl_config(tls)
        _write_secret(folder / "ssl.config", contents["ssl.config"])
    return ServingFiles({name: folder / name for name in contents}, flags)


def models_config(models: Sequence[ModelConfig], flags: Sequence[str] = ()) -> str:
    """Return a ModelServerConfig as text."""
    command = " \\\n#     ".join(["tensorflow_model_server", *flags])
    lines = ["# The models to serve (ModelServerConfig). Use:", f"#   {command}", "model_config_list {"]
    for model in models:
        lines += [
            "  config {",
            f"    name: {_quoted(model.name)}",
            f"    base_path: {_quoted(str(model.base_path))}",
            '    model_platform: "tensorflow"',
            f"    model_version_policy {{ {_policy(model.policy)} }}",
            *(
                f"    version_labels {{ key: {_quoted(label)} value: {number} }}"
                for label, number in model.labels.items()
            ),
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


def batching_config(settings: BatchingSettings) -> str:
    """Return BatchingParameters as text.

    Without `allowed_batch_sizes` no batch is filled up with copies of a row; texts need no
    `pad_variable_length_inputs`, since a batch of strings has one shape whatever their length.
    """
    return (
        "# How requests are gathered into batches (BatchingParameters). Use with --enable_batching and\n"
        "# --batching_parameters_file. The server holds a thread for each request that waits and refuses what comes\n"
        f"# beyond its threads, so it needs --grpc_max_threads={settings.requests}.\n"
        f"max_batch_size {{ value: {settings.max_batch_size} }}\n"
        f"batch_timeout_micros {{ value: {settings.batch_timeout_micros} }}\n"
        f"num_batch_threads {{ value: {settings.threads} }}\n"
        f"max_enqueued_batches {{ value: {settings.queue} }}\n"
    )


def monitoring_config() -> str:
    """Return a MonitoringConfig as text: metrics for Prometheus on the REST port."""
    return (
        "# Metrics for Prometheus, on the REST port (MonitoringConfig). Use with --monitoring_config_file.\n"
        f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}\n'
    )


def ssl_config(files: TlsFiles) -> str:
    """Return an SSLConfig as text: the contents of the PEM files, as TensorFlow Serving wants them.

    Raises:
        ConfigError: a file cannot be read, or is no PEM file.
    """
    authority = "" if files.client_authority is None else _pem(files.client_authority)
    verify = "true" if authority else "false"
    return (
        "# TLS for gRPC (SSLConfig), with the private key in it: keep it secret. Use with --ssl_config_file.\n"
        f"server_key: {_quoted(_pem(files.key))}\n"
        f"server_cert: {_quoted(_pem(files.certificate))}\n"
        + (f"custom_ca: {_quoted(authority)}\n" if authority else "")
        + f"client_verify: {verify}\n"
    )


def _models(
    root: str | os.PathLike[str],
    base_path: str | None,
    policy: VersionPolicy,
    labels: Mapping[str, Mapping[str, int]],
) -> list[ModelConfig]:
    found = configured_models(root, None, policy)
    names = [model.name for model in found]
    for name in labels:
        if name not in names:
            raise ConfigError(f"Expected labels for a model in '{root}': {', '.join(names)}. Received: '{name}'.")
    if base_path is not None and not base_path.startswith("/"):
        raise ConfigError(f"Expected an absolute base_path, such as '/models'. Received: base_path='{base_path}'.")
    models = []
    for model in found:
        given = labels.get(model.name, {})
        served = {item.version for item in model.policy.choose(list_versions(model.base_path))}
        for label, number in given.items():
            if number not in served:
                raise ConfigError(
                    f"Expected label '{label}' of model '{model.name}' for a version that is served: "
                    f"{', '.join(map(str, sorted(served))) or 'none'}. Received: version={number}."
                )
        seen_as = model.base_path if base_path is None else Path(base_path, model.name)
        models.append(replace(model, base_path=seen_as, labels={**model.labels, **given}))
    return models


def _checked(settings: BatchingSettings) -> BatchingSettings:
    if settings.max_batch_size < 1:
        raise ConfigError(f"Expected max_batch_size of 1 or more. Received: max_batch_size={settings.max_batch_size}.")
    for name in ("batch_timeout_micros", "num_batch_threads", "max_enqueued_batches"):
        if getattr(settings, name) < 0:
            raise ConfigError(f"Expected {name} of 0 or more. Received: {name}={getattr(settings, name)}.")
    return settings


def _flags(folder: str, batching: BatchingSettings, *, with_labels: bool, with_tls: bool) -> tuple[str, ...]:
    return (
        "--port=8500",
        "--rest_api_port=8501",
        f"--model_config_file={folder}/models.config",
        "--model_config_file_poll_wait_seconds=10",
        "--enable_batching",
        f"--batching_parameters_file={folder}/batching.config",
        f"--monitoring_config_file={folder}/monitoring.config",
        f"--grpc_max_threads={batching.requests}",
        f"--rest_api_num_threads={batching.requests}",
        *(["--allow_version_labels_for_unavailable_models"] if with_labels else []),
        *([f"--ssl_config_file={folder}/ssl.config"] if with_tls else []),
    )


def _policy(policy: VersionPolicy) -> str:
    if policy.kind == "all":
        return "all {}"
    if policy.kind == "specific":
        return "specific {" + "".join(f" versions: {number}" for number in policy.versions) + " }"
    return f"latest {{ num_versions: {policy.count} }}"


def _quoted(text: str) -> str:
    return f'"{CEscape(text.encode(), False)}"'


def _pem(path: Path) -> str:
    try:
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Expected a PEM file. Received: '{path}': {error}") from error
    if "-----BEGIN " not in text:
        raise ConfigError(f"Expected a PEM file, with a line '-----BEGIN ...'. Received: '{path}' without one.")
    return text


def _write_secret(path: Path, content: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
