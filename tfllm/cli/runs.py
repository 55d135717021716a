"""`tfllm runs`."""

from typing import Any

import click

from tfllm.cli.output import print_json, print_table, say
from tfllm.errors import DataError
from tfllm.training.runs import Run, list_runs


@click.command()
@click.argument("folder", type=click.Path(), default="runs")
@click.option("--json", "as_json", is_flag=True, help="Print settings and epochs as JSON.")
def runs(folder: str, as_json: bool) -> None:
    """List the training runs in FOLDER (by default runs), or the epochs of one run.

    \b
    Example:
      tfllm runs                    # all runs below runs/
      tfllm runs runs/reviews       # the epochs of one
    """
    found = list_runs(folder)
    if as_json:
        print_json([{"path": str(run.path), "settings": run.settings, "epochs": run.epochs} for run in found])
    elif not found:
        raise DataError(f"Expected training runs (run.json) in '{folder}'. Received: none.")
    elif len(found) == 1 and found[0].epochs:
        _print_epochs(found[0])
    else:
        print_table(["run", "task", "preset", "epochs", "loss", "curve", "last epoch"], [_row(run) for run in found])


def _row(run: Run) -> list[str]:
    last = run.epochs[-1] if run.epochs else {}
    judged = {name: value for name, value in last.items() if name.startswith("val_")}
    return [
        str(run.path),
        str(run.settings.get("task")),
        str(run.settings.get("preset")),
        f"{len(run.epochs)}/{run.settings.get('epochs')}",
        _number(last.get("loss", "")),
        run.curve("loss"),
        "  ".join(f"{name} {_number(value)}" for name, value in judged.items()),
    ]


def _print_epochs(run: Run) -> None:
    names = list(run.epochs[0])
    print_table(names, [[_number(row.get(name, "")) for name in names] for row in run.epochs])
    curves = run.path / "curves.png"
    if curves.is_file():
        say(f"The curves as a picture: {curves}")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
