"""`tfllm evaluate`."""

import click

from tfllm.cli.options import data_options
from tfllm.cli.output import print_json, print_table, say
from tfllm.cli.quiet import import_tensorflow


@click.command()
@click.argument("data", type=click.Path())
@data_options()
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
    split_column: str | None,
    model_dir: str | None,
    server: str | None,
    name: str | None,
    report: str | None,
    as_json: bool,
) -> None:
    """Judge a trained or a served model on the labelled rows of DATA.

    With a split column, its `dev` rows are judged.

    \b
    Example:
      tfllm evaluate reviews.csv --text review --label stars --model runs/reviews/model --report report.html
    """
    import tfllm
    from tfllm.errors import ConfigError

    if bool(model_dir) == bool(server):
        raise ConfigError("Expected either --model or --server. Give one of them.")
    if server and not name:
        raise ConfigError("Expected --name, the served model's name, with --server.")
    rows = tfllm.load_dataset(data, text=text, text_pair=text_pair, label=label)
    if split_column is not None:
        rows = rows.split_by(split_column)["dev"]
    if server:
        with tfllm.Client(server, model=str(name), timeout=600.0) as client:
            result = tfllm.evaluate(client.predict, rows)
    else:
        import_tensorflow()
        result = tfllm.evaluate(tfllm.TextClassifier.from_preset(str(model_dir)).predict_text, rows)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(["metric", "value"], [[metric, f"{value:.4f}"] for metric, value in result.metrics.items()])
    if report:
        say(f"Stored the report in {result.save(report)}.")
