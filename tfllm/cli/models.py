"""`tfllm export` and `tfllm models`."""

import json
from pathlib import Path

import click

from tfllm import repository
from tfllm.cli.options import data_options, held_out_option, held_out_rows
from tfllm.cli.output import print_json, print_table, say
from tfllm.cli.quiet import import_tensorflow


@click.command()
@click.argument("model_dir", type=click.Path())
@click.argument("path", type=click.Path())
@click.option("--data", type=click.Path(), help="Rows to judge the model on and to prove the export with.")
@data_options
@held_out_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def export(
    model_dir: str,
    path: str,
    data: str | None,
    text: str,
    text_pair: str | None,
    label: str,
    label_kind: str | None,
    split_column: str | None,
    validation_fraction: float | None,
    as_json: bool,
) -> None:
    """Export the trained model in MODEL_DIR as the next version under PATH.

    \b
    Example:
      tfllm export runs/reviews/model saved_models/reviews
    """
    import_tensorflow()
    import tfllm

    model = tfllm.load_task(model_dir)
    samples, figures = [], {}
    if data is not None:
        kind = label_kind or model.label_kind
        rows = tfllm.load_dataset(data, text=text, text_pair=text_pair, label=label, label_kind=kind)
        rows = held_out_rows(rows, split_column, validation_fraction)
        samples = rows.texts
        figures = tfllm.evaluate(model.predict_text, rows).metrics
    say("Writing the SavedModel and proving it in a fresh process; this takes some 20 seconds.")
    version = tfllm.export(model, path, samples=samples, evaluation=figures, data_hash=_trained_on(Path(model_dir)))
    if as_json:
        print_json({"name": version.name, "version": version.version, "path": str(version.path), "bytes": version.size})
    else:
        click.echo(f"Exported version {version.version} of '{version.name}' to {version.path}.")


@click.command()
@click.argument("root", type=click.Path(), default="saved_models")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def models(root: str, as_json: bool) -> None:
    """List the models and versions under ROOT."""
    found = [_described(version) for versions in repository.list_models(root).values() for version in versions]
    if as_json:
        print_json(found)
    elif not found:
        say(f"No models under '{root}'. Export one with: tfllm export MODEL_DIR {root}/NAME")
    else:
        print_table(list(found[0]), [list(row.values()) for row in found])


def _trained_on(model_dir: Path) -> str | None:
    """Return the fingerprint of the training rows, where the model lies in its run folder."""
    file = model_dir.parent / "run.json"
    found: str | None = json.loads(file.read_text("utf-8")).get("train_data") if file.is_file() else None
    return found


def _described(version: repository.ModelVersion) -> dict[str, object]:
    file = version.path / repository.CONTRACT_FILE
    contract = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    accuracy = contract.get("evaluation", {}).get("accuracy")
    return {
        "name": version.name,
        "version": version.version,
        "task": contract.get("task", "unknown"),
        "accuracy": "" if accuracy is None else round(accuracy, 4),
        "megabytes": round(version.size / 1e6, 1),
        "created": contract.get("created", ""),
    }
