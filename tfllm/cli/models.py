"""`tfllm export` and `tfllm models`, with `tfllm models config`."""

import json
from pathlib import Path
from typing import Any

import click

from tfllm import repository, repository_copy, repository_labels
from tfllm.cli.options import data_options, held_out_option, held_out_rows, load_rows, settings_options
from tfllm.cli.output import print_json, print_table, say
from tfllm.cli.quality import similarity_judge
from tfllm.cli.quiet import import_tensorflow
from tfllm.errors import ConfigError
from tfllm.repository_paths import located, read_text
from tfllm.server.config_writing import BatchingSettings, TlsFiles, write_configs


@click.command()
@click.argument("model_dir", type=click.Path())
@click.argument("path", type=click.Path())
@click.option("--data", type=click.Path(), help="Rows to judge the model on and to prove the export with.")
@data_options
@held_out_option
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Of the products; the short ones are faster on some processors with instructions for them: compare.",
)
@click.option(
    "--tolerance", type=float, help="Largest difference from Keras.  [default: 1e-4, or 1e-2 for the short precisions]"
)
@click.option(
    "--tokens-per-step",
    type=int,
    help="Most tokens in work at once: bounds memory, not of Keras's forward pass.  [default: 1024]",
)
@click.option("--batch-in-graph", type=int, metavar="ROWS", help="Build batching of at most ROWS rows into the graph.")
@click.option("--warm-up/--no-warm-up", default=True, show_default=True, help="Write warm-up requests.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def export(
    model_dir: str,
    path: str,
    data: str | None,
    split_column: str | None,
    validation_fraction: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Export the trained model in MODEL_DIR as the next version under PATH.

    \b
    Example:
      tfllm export runs/reviews/model saved_models/reviews
    """
    import_tensorflow()
    import tfllm

    model = tfllm.load_task(model_dir)
    proof: dict[str, Any] = {"data_hash": _trained_on(Path(model_dir))}
    if data is not None:
        similarity = similarity_judge(model)
        rows = load_rows(data, options, label_kind=model.label_kind)
        rows = held_out_rows(rows, split_column, validation_fraction)
        say(f"{len(rows):,} rows judge the model in Keras, and the exported graph.")
        if similarity is None:
            proof |= {"samples": rows.texts, "judge": lambda predict: tfllm.evaluate(predict, rows).metrics}
        else:  # of pairs of texts, each of which the model takes alone
            samples = rows.frame[rows.text].tolist()
            proof |= {"samples": samples, "judge": lambda predict: similarity(predict, rows)}
    say("Writing the SavedModel and proving it in a fresh process; this takes some 20 seconds.")
    version = tfllm.export(model, path, **proof, **_settings(options))
    if as_json:
        print_json({"name": version.name, "version": version.version, "path": str(version.path), "bytes": version.size})
    else:
        click.echo(f"Exported version {version.version} of '{version.name}' to {version.path}.")


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of `tfllm.export` that the options mean."""
    from tfllm.exporting.graph_batching import GraphBatching

    settings = {name: options[name] for name in ("precision", "tolerance", "warm_up")}
    if options["tokens_per_step"] is not None:
        settings["tokens_per_step"] = options["tokens_per_step"]
    if options["batch_in_graph"] is not None:
        settings["batching"] = GraphBatching(max_batch_size=options["batch_in_graph"])
    return settings


class _ListByDefault(click.Group):
    """A group whose `list` command can be left out: `tfllm models ROOT`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` in front of what names no command."""
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListByDefault)
def models() -> None:
    """Look after the models of a folder: list, describe, label, rollback, prune, copy, config.

    All but config take an address too, such as gs://bucket/models.

    \b
    Example:
      tfllm models saved_models
      tfllm models config saved_models --output serving/config
    """


_json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_root_option = click.option("--root", default="saved_models", show_default=True, help="Folder or address of models.")


@models.command("list")
@click.argument("root", type=click.Path(), default="saved_models")
@_json_option
def list_all(root: str, as_json: bool) -> None:
    """List the models and versions under ROOT, a folder or an address (gs://, s3://); `list` can be left out."""
    found = [_described(version) for versions in repository.list_models(root).values() for version in versions]
    if as_json:
        print_json(found)
    elif not found:
        say(f"No models under '{root}'. Export one with: tfllm export MODEL_DIR {root}/NAME")
    else:
        print_table(list(found[0]), [list(row.values()) for row in found])


@models.command("config")
@click.argument("root", type=click.Path(), default="saved_models")
@click.option("--output", type=click.Path(), default="serving/config", show_default=True, help="Folder to write to.")
@click.option("--base-path", help="Where ROOT lies for the server, such as /models.  [default: as here]")
@click.option("--config-path", help="Where the output lies for the server, such as /config.  [default: as here]")
@click.option(
    "--version-policy",
    default="latest",
    show_default=True,
    help="Versions to serve of each model: latest, latest:N, all or specific:N,N.",
)
@click.option("--label", "labels", multiple=True, help="A label of a version, as MODEL:LABEL=VERSION; can be repeated.")
@settings_options(BatchingSettings)
@click.option("--tls-key", type=click.Path(), help="PEM file of the server's private key; writes ssl.config.")
@click.option("--tls-certificate", type=click.Path(), help="PEM file of the server's certificate.")
@click.option("--tls-client-authority", type=click.Path(), help="PEM file of who signs clients' certificates (mTLS).")
@click.option("--json", "as_json", is_flag=True, help="Print the files and the flags as JSON.")
def config(
    root: str,
    output: str,
    base_path: str | None,
    config_path: str | None,
    version_policy: str,
    labels: tuple[str, ...],
    tls_key: str | None,
    tls_certificate: str | None,
    tls_client_authority: str | None,
    as_json: bool,
    **batching: int | None,
) -> None:
    """Write TensorFlow Serving's configuration files for the models under ROOT.

    They are models.config, batching.config, monitoring.config and, with a certificate, ssl.config. Printed is the
    command that starts a server with them.

    \b
    Example:
      tfllm models config saved_models --output serving/config --base-path /models --config-path /config
    """
    written = write_configs(
        root,
        output,
        base_path=base_path,
        config_path=config_path,
        version_policy=version_policy,
        labels=_parsed_labels(labels),
        batching=BatchingSettings(**{name: value for name, value in batching.items() if value is not None}),
        tls=_tls_files(tls_key, tls_certificate, tls_client_authority),
    )
    if as_json:
        print_json({"files": {name: str(path) for name, path in written.paths.items()}, "flags": list(written.flags)})
    else:
        say(f"Wrote {', '.join(map(str, written.paths.values()))}.")
        click.echo(" \\\n  ".join(["tensorflow_model_server", *written.flags]))


def _parsed_labels(texts: tuple[str, ...]) -> dict[str, dict[str, int]]:
    labels: dict[str, dict[str, int]] = {}
    for text in texts:
        model, colon, rest = text.partition(":")
        label, equals, number = rest.partition("=")
        if not (model and colon and label and equals and number.isdecimal()):
            raise ConfigError(f"Expected --label MODEL:LABEL=VERSION, such as reviews:stable=4. Received: '{text}'.")
        labels.setdefault(model, {})[label] = int(number)
    return labels


def _tls_files(key: str | None, certificate: str | None, authority: str | None) -> TlsFiles | None:
    if key is not None and certificate is not None:
        return TlsFiles(Path(key), Path(certificate), None if authority is None else Path(authority))
    if key or certificate or authority:
        raise ConfigError("Expected --tls-key and --tls-certificate together. Received: not both of them.")
    return None


@models.command()
@click.argument("name")
@click.option("--version", type=int, help="Version number; the newest if not given.")
@_root_option
@_json_option
def describe(name: str, version: int | None, root: str, as_json: bool) -> None:
    """Show the model card of a version; its contract with --json."""
    found = repository.find_version(located(root) / name, version)
    text = read_text(found.path / (repository.CONTRACT_FILE if as_json else "README.md"))
    if as_json:
        print_json(_described(found) if text is None else json.loads(text))
    elif text is not None:
        click.echo(text)
    else:
        print_table(["", ""], _described(found).items())


@models.command()
@click.argument("name")
@click.argument("label")
@click.argument("version", type=int, required=False)
@click.option("--remove", is_flag=True, help="Take the label away.")
@_root_option
def label(name: str, label: str, version: int | None, remove: bool, root: str) -> None:
    """Give LABEL to a VERSION of model NAME (the newest if none is named), and write models.config."""
    base = located(root) / name
    if remove and version is not None:
        raise click.UsageError(f"Give a version or --remove, not both. Received: {version} and --remove.")
    number = None if remove else repository.find_version(base).version if version is None else version
    labels = repository_labels.set_label(base, label, number)
    say(f"Labels of '{name}': " + (", ".join(f"{key} = {value}" for key, value in labels.items()) or "none"))


@models.command()
@click.argument("name")
@click.option("--label", default=repository_labels.STABLE, show_default=True, help="The label to move.")
@_root_option
def rollback(name: str, label: str, root: str) -> None:
    """Give a label of model NAME back to the version that had it before."""
    say(f"'{label}' of '{name}' is version {repository_labels.rollback(located(root) / name, label)} again.")


@models.command()
@click.argument("name")
@click.option("--keep", default=3, show_default=True, help="How many of the newest versions stay.")
@_root_option
def prune(name: str, keep: int, root: str) -> None:
    """Remove old versions of model NAME; those with a label stay."""
    gone = repository_labels.prune(located(root) / name, keep)
    say("Removed: " + (", ".join(str(item.version) for item in gone) or "none"))


@models.command()
@click.argument("name")
@click.argument("target")
@click.option("--version", type=int, help="Version number; the newest if not given.")
@_root_option
def copy(name: str, target: str, version: int | None, root: str) -> None:
    """Copy a version of model NAME to the model folder TARGET, a path or an address (gs://, s3://).

    In a folder it gets the next number, at an address it keeps its own.

    \b
    Example:
      tfllm models copy reviews saved_models/reviews --root gs://bucket/models
    """
    found = repository.find_version(located(root) / name, version)
    say(f"Copied to {repository_copy.copy_version(found, target)}.")


def _trained_on(model_dir: Path) -> str | None:
    """Return the fingerprint of the training rows, where the model lies in its run folder."""
    file = model_dir.parent / "run.json"
    found: str | None = json.loads(file.read_text("utf-8")).get("train_data") if file.is_file() else None
    return found


def _described(version: repository.ModelVersion) -> dict[str, object]:
    text = read_text(version.path / repository.CONTRACT_FILE)
    contract = {} if text is None else json.loads(text)
    labels = repository_labels.read_labels(version.path.parent)
    accuracy = contract.get("evaluation", {}).get("accuracy")
    return {
        "name": version.name,
        "version": version.version,
        "task": contract.get("task", "unknown"),
        "labels": ", ".join(label for label, number in labels.items() if number == version.version),
        "accuracy": "" if accuracy is None else round(accuracy, 4),
        "megabytes": round(version.size / 1e6, 1),
        "created": contract.get("created", ""),
    }
