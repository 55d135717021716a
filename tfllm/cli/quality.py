"""`tfllm evaluate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfllm.cli.connecting import connection, connection_options
from tfllm.cli.options import data_options, held_out_option, held_out_rows, load_rows
from tfllm.cli.output import print_json, print_table, say
from tfllm.cli.quiet import import_tensorflow
from tfllm.errors import ConfigError

REPORT_ENDINGS = (".html", ".md", ".json")


@click.command()
@click.argument("data", type=click.Path())
@data_options
@held_out_option
@click.option("--model", "model_dir", type=click.Path(), help="Folder of a trained model, such as runs/x/model.")
@click.option("--server", help="Address of a server to judge instead, with --name.")
@click.option("--name", help="Name of the served model.")
@connection_options
@click.option(
    "--out-of-scope",
    metavar="LABEL",
    help="Label of rows that belong to no label of the model: judged on their own too.",
)
@click.option("--report", type=click.Path(), help="Where to store the report: .html, .md or .json.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def evaluate(
    data: str,
    split_column: str | None,
    validation_fraction: float | None,
    model_dir: str | None,
    server: str | None,
    name: str | None,
    out_of_scope: str | None,
    report: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Judge a trained or a served model on the labelled rows of DATA.

    A text_embedder is judged on pairs with a number each (STS): by how well its cosine similarities agree with them.

    With a split column its `dev` rows are judged; with the validation fraction of the training, the rows it held out.

    \b
    Example:
      tfllm evaluate reviews.csv --text review --label stars --validation-fraction 0.2 \\
        --model runs/reviews/model --report report.html
    """
    import tfllm

    _check(model_dir, server, name, report)
    reached = connection(options)
    model = judge = None
    if model_dir:
        import_tensorflow()
        model = tfllm.load_task(model_dir)
        judge = similarity_judge(model, report=report, out_of_scope=out_of_scope)
    rows = load_rows(data, options, label_kind=model.label_kind if model else None)
    rows = held_out_rows(rows, split_column, validation_fraction)
    if judge is not None:
        figures = judge(model.encode_text, rows)
        _print(figures, figures, as_json)
        return
    if model is None:
        with tfllm.Client(str(server), model=str(name), timeout=600.0, connection=reached) as client:
            result = tfllm.evaluate(client.predict, rows, out_of_scope=out_of_scope)
    else:
        result = tfllm.evaluate(model.predict_text, rows, out_of_scope=out_of_scope)
    _print(result.to_dict(), result.metrics, as_json)
    if report:
        say(f"Stored the report in {result.save(report)}.")


def _check(model_dir: str | None, server: str | None, name: str | None, report: str | None) -> None:
    """Raise `ConfigError` unless there is one model to judge, and a report of a kind that is written."""
    if bool(model_dir) == bool(server) or (server and not name):
        raise ConfigError("Expected either --model, or --server with --name, the served model's name.")
    if report and Path(report).suffix.lower() not in REPORT_ENDINGS:
        raise ConfigError(f"Expected a report that ends in {', '.join(REPORT_ENDINGS)}. Received: '{report}'.")


def similarity_judge(
    model: Any, *, report: str | None = None, out_of_scope: str | None = None
) -> Callable[[Any, Any], dict[str, float]] | None:
    """Return what judges an embedder by its vectors and rows, or None for a model that `tfllm.evaluate` judges.

    Raises:
        ConfigError: there is no judge for the model, or an option that its judge does not have.
    """
    import tfllm

    if isinstance(model, tfllm.MaskedLM):
        raise ConfigError(
            "Expected a model whose answers are judged on labelled rows. Received: a MaskedLM, which has no judge "
            "here. tfllm pretrain --validation-data prints its loss and accuracy; or judge what is trained from it."
        )
    if not isinstance(model, tfllm.TextEmbedder):
        return None
    given = [name for name, value in (("--report", report), ("--out-of-scope", out_of_scope)) if value is not None]
    if given:
        raise ConfigError(
            f"Expected --model of another task beside {' and '.join(given)}. "
            "Received: a TextEmbedder, which is judged by two correlations alone."
        )
    return tfllm.evaluate_similarity


def _print(everything: dict[str, Any], figures: dict[str, float], as_json: bool) -> None:
    if as_json:
        print_json(everything)
    else:
        print_table(["metric", "value"], [[metric, f"{value:.4f}"] for metric, value in figures.items()])
