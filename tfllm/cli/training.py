"""`tfllm train` and `tfllm launch`."""

import sys
from pathlib import Path
from typing import Any

import click

from tfllm.cli.options import config_option, data_options, labelled_rows, settings_options
from tfllm.cli.output import print_json, print_table, say
from tfllm.cli.quiet import import_tensorflow
from tfllm.config import make_settings
from tfllm.training.settings import FineTuneConfig


@click.command()
@click.argument("data", type=click.Path())
@data_options
@click.option("--task", "task_name", default="text_classifier", show_default=True, help="What to train.")
@click.option("--preset", default="all_minilm_l6_v2_en", show_default=True, help="Preset name, address or folder.")
@click.option("--run-dir", type=click.Path(), required=True, help="Where the run and the model are stored.")
@click.option(
    "--validation-fraction", default=0.2, show_default=True, help="Rows held out if there is no split column."
)
@click.option("--max-length", type=int, help="The most tokens of a text.  [default: 128]")
@click.option("--strategy", default="auto", show_default=True, help="auto, one, mirrored, multi_worker or tpu.")
@click.option("--pooling", help="How tokens become one vector, such as first or mean.  [default: as the task wants]")
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
@settings_options(FineTuneConfig)
@config_option
def train(
    data: str,
    text: str,
    text_pair: str | None,
    label: str,
    label_kind: str | None,
    split_column: str | None,
    task_name: str,
    preset: str,
    run_dir: str,
    validation_fraction: float,
    max_length: int | None,
    pooling: str | None,
    strategy: str,
    as_json: bool,
    **settings: Any,
) -> None:
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
    from tfllm.tasks.registry import find_task
    from tfllm.training.interruption import Workers

    chosen = {name: value for name, value in settings.items() if value is not None}
    chosen_strategy, task = tfllm.get_strategy(strategy), find_task(task_name)
    keras.utils.set_random_seed(make_settings(FineTuneConfig, chosen).seed)
    kind = label_kind or task.label_kind
    rows = tfllm.load_dataset(data, text=text, text_pair=text_pair, label=label, label_kind=kind)
    training, validation = labelled_rows(rows, split_column, validation_fraction)
    head = task.head_of(training) | ({} if pooling is None else {"pooling": pooling})
    with chosen_strategy.scope():
        model = task.from_preset(preset, max_length=max_length, **head)
    history = tfllm.fine_tune(model, training, validation_data=validation, run_dir=run_dir, **chosen)
    if not Workers(chosen_strategy).is_first:
        return
    model.save_to_preset(Path(run_dir, "model"))
    _print_history(history.epochs, as_json)
    say(f"Stored the model in {Path(run_dir, 'model')} and the curves in {Path(run_dir, 'curves.png')}.")


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


def _print_history(epochs: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(epochs)
    else:
        names = list(epochs[0])
        print_table(names, [[_number(row[name]) for name in names] for row in epochs])


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
