"""`tfllm evaluate`."""

from pathlib import Path

import click

from tfllm.cli.options import data_options, held_out_option, held_out_rows
from tfllm.cli.output import print_json, print_table, say
from tfllm.cli.quiet import import_tensorflow

REPORT_ENDINGS = (".html", ".md", ".json")


@click.command()
@click.argument("data", type=click.Path())
@data_options
@held_out_option
@click.option("--model", "model_dir", type=click.Path(), help="Folder of a trained model, such as runs/x/model.")
@click.option("--server", help="Address of a server to judge instead, with --name.")
@click.option("--name", help="Name of the served model.")
@click.option("--report", type=click.Path(), help="Where to store the report: .html, .md or .json.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def evaluate(
    data: str,
    text: str,
    text_pair: str | None,
    label: str,
    label_kind: str | None,
    split_column: str | None,
    validation_fraction: float | None,
    model_dir: str | None,
    server: str | None,
    name: str | None,
    report: str | None,
    as_json: bool,
) -> None:
    """Judge a trained or a served model on the labelled rows of DATA.

    With a split column its `dev` rows are judged; with the validation fraction of the training, the rows it held out.

    \b
    Example:
      tfllm evaluate reviews.csv --text review --label stars --validation-fraction 0.2 \\
        --model runs/reviews/model --report report.html
    """
    import tfllm
    from tfllm.errors import ConfigError

    if bool(model_dir) == bool(server) or (server and not name):
        raise ConfigError("Expected either --model, or --server with --name, the served model's name.")
    if report and Path(report).suffix.lower() not in REPORT_ENDINGS:
        raise ConfigError(f"Expected a report that ends in {', '.join(REPORT_ENDINGS)}. Received: '{report}'.")
    model = None
    if model_dir:
        import_tensorflow()
        model = tfllm.load_task(model_dir)
    kind = label_kind or (model.label_kind if model else "label")
    rows = tfllm.load_dataset(data, text=text, text_pair=text_pair, label=label, label_kind=kind)
    rows = held_out_rows(rows, split_column, validation_fraction)
    if model is None:
        with tfllm.Client(str(server), model=str(name), timeout=600.0) as client:
            result = tfllm.evaluate(client.predict, rows)
    else:
        result = tfllm.evaluate(model.predict_text, rows)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(["metric", "value"], [[metric, f"{value:.4f}"] for metric, value in result.metrics.items()])
    if report:
        say(f"Stored the report in {result.save(report)}.")
