"""`tfllm train` and `tfllm launch`."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfllm.cli.options import Command, config_option, data_options, labelled_rows, settings_options
from tfllm.cli.output import print_json, print_table, say
from tfllm.cli.quiet import import_tensorflow
from tfllm.config import make_settings
from tfllm.training.settings import FineTuneConfig


def training_options(function: Command) -> Command:
    """Add what `train` and `tune` both take: data, task, preset, settings."""
    for decorate in (
        config_option,
        settings_options(FineTuneConfig),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        click.option(
            "--pooling", help="How tokens become one vector, such as cls or mean.  [default: as the task wants]"
        ),
        click.option("--max-length", type=int, help="The most tokens of a text.  [default: 128]"),
        click.option(
            "--validation-fraction", default=0.2, show_default=True, help="Rows held out if there is no split column."
        ),
        click.option("--run-dir", type=click.Path(), required=True, help="Where runs and the model are stored."),
        click.option(
            "--preset", default="all_minilm_l6_v2_en", show_default=True, help="Preset name, address or folder."
        ),
        click.option("--task", "task_name", default="text_classifier", show_default=True, help="What to train."),
        data_options,
        click.argument("data", type=click.Path()),
    ):
        function = decorate(function)
    return function


@click.command()
@training_options
@click.option("--strategy", default="auto", show_default=True, help="auto, one, mirrored, multi_worker or tpu.")
def train(run_dir: str, strategy: str, as_json: bool, **options: Any) -> None:
    """Fine-tune a model for a task on DATA (.csv, .tsv, .jsonl, .parquet).

    The same command again continues an interrupted run. The model is stored in RUN_DIR/model. SIGTERM
    stores the run and ends with status 143.

    \b
    Example:
      tfllm train reviews.csv --text review --label stars --epochs 3 --run-dir runs/reviews
    """
    import_tensorflow()
    import keras

    import tfllm
    from tfllm.training.interruption import Workers

    chosen = chosen_settings(options)
    chosen_strategy = tfllm.get_strategy(strategy)
    keras.utils.set_random_seed(make_settings(FineTuneConfig, chosen).seed)
    training, validation, make_model = rows_and_model(options)
    with chosen_strategy.scope():
        model = make_model()
    history = tfllm.fine_tune(model, training, validation_data=validation, run_dir=run_dir, **chosen)
    if not Workers(chosen_strategy).is_first:
        return
    model.save_to_preset(Path(run_dir, "model"))
    print_rows(history.epochs, as_json)
    say(f"Stored the model in {Path(run_dir, 'model')} and the curves in {Path(run_dir, 'curves.png')}.")


@click.command()
@training_options
@click.option(
    "--search",
    "searched",
    multiple=True,
    required=True,
    help="What to search: learning_rate=1e-5..1e-4 (a range) or batch_size=16,32 (choices). Several times for several.",
)
@click.option("--trials", default=20, show_default=True, help="How many settings to try.")
def tune(run_dir: str, searched: tuple[str, ...], trials: int, as_json: bool, **options: Any) -> None:
    """Search for the settings of `tfllm train` that do best on the validation rows of DATA.

    The same command again goes on until all trials are finished. Needs `pip install 'tfllm[tune]'`.

    \b
    Example:
      tfllm tune reviews.csv --search learning_rate=1e-5..1e-4 --search batch_size=16,32 --run-dir runs/search
    """
    import_tensorflow()
    import tfllm
    from tfllm.cli.searches import search_spaces

    training, validation, make_model = rows_and_model(options)
    result = tfllm.tune(
        make_model,
        training,
        validation_data=validation,
        search=search_spaces(searched),
        run_dir=run_dir,
        trials=trials,
        **chosen_settings(options),
    )
    print_rows(result.trials, as_json)
    best = "  ".join(f"{name}={value}" for name, value in result.best.items())
    say(f"Best {result.monitor} {result.value:.4f} with {best}")


def chosen_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of fine-tuning that were given."""
    names = [field.name for field in dataclasses.fields(FineTuneConfig)]
    return {name: options[name] for name in names if options[name] is not None}


def rows_and_model(options: dict[str, Any]) -> tuple[Any, Any, Callable[[], Any]]:
    """Return training rows, validation rows, and what makes a model for them."""
    import tfllm
    from tfllm.tasks.registry import find_task

    task = find_task(options["task_name"])
    columns = {name: options[name] for name in ("text", "text_pair", "label")}
    rows = tfllm.load_dataset(options["data"], label_kind=options["label_kind"] or task.label_kind, **columns)
    training, validation = labelled_rows(rows, options["split_column"], options["validation_fraction"])
    head = task.head_of(training) | ({} if options["pooling"] is None else {"pooling": options["pooling"]})
    return (
        training,
        validation,
        lambda: task.from_preset(options["preset"], max_length=options["max_length"], **head),
    )


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--workers", default=2, show_default=True, help="How many processes train together.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def launch(workers: int, command: tuple[str, ...]) -> None:
    """Run `tfllm COMMAND` in several processes of this machine that train together.

    Each line gets its worker's number in front. When one worker dies the others are stopped, and the same command again
    continues the run.

    \b
    Example:
      tfllm launch --workers 2 -- train reviews.csv --run-dir runs/reviews
    """
    from tfllm.training.launching import launch as launch_workers

    sys.exit(launch_workers([sys.executable, "-m", "tfllm", *command], workers))


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows of like keys as a table, or as JSON."""
    if as_json:
        print_json(rows)
    else:
        names = list(rows[0])
        print_table(names, [[_number(row[name]) for name in names] for row in rows])


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
