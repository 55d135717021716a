"""`tfllm train` and `tfllm launch`."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfllm.cli.options import (
    Command,
    config_option,
    labelled_rows,
    learning_options,
    learning_rows,
    settings_options,
)
from tfllm.cli.output import print_json, print_table, say
from tfllm.cli.quiet import import_tensorflow
from tfllm.config import make_settings
from tfllm.errors import ConfigError, DataError
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
        learning_options,
        click.argument("data", type=click.Path()),
    ):
        function = decorate(function)
    return function


@click.command()
@training_options
@click.option(
    "--tune-decision",
    is_flag=True,
    help="Then choose on the validation rows when labels count (--label-kind labels), when a text is out of scope "
    "(--out-of-scope), or when a question has no answer.",
)
@click.option(
    "--out-of-scope",
    metavar="LABEL",
    help="Label of rows that belong to no other label: they are not learnt; --tune-decision tells them from the rest.",
)
@click.option("--strategy", default="auto", show_default=True, help="auto, one, mirrored, multi_worker or tpu.")
def train(
    run_dir: str, strategy: str, as_json: bool, tune_decision: bool, out_of_scope: str | None, **options: Any
) -> None:
    """Fine-tune a model for a task on DATA.

    DATA is a .csv, .tsv, .jsonl or .parquet file, one in CoNLL's columns (.conll, .bio, .iob, .iob2, .conllu, or any
    with --columns), or a .json file of SQuAD; each also with .gz.

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
    training, held_out = split_rows(options)
    decide = _decision(options["task_name"], held_out, out_of_scope) if tune_decision else None
    if out_of_scope is not None and decide is None:
        raise ConfigError("Expected --tune-decision beside --out-of-scope. Received: --out-of-scope alone.")
    training, validation = (_without(rows, out_of_scope) for rows in (training, held_out))
    make_model = model_maker(training, options)
    with chosen_strategy.scope():
        model = make_model()
    history = tfllm.fine_tune(model, training, validation_data=validation, run_dir=run_dir, **chosen)
    if not Workers(chosen_strategy).is_first:
        return
    if decide is not None:
        chosen_values = "  ".join(f"{name}={value:.4g}" for name, value in decide(model).items())
        say(f"Decides by {chosen_values}, chosen on {len(held_out)} validation rows.")
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

    training, validation = split_rows(options)
    result = tfllm.tune(
        model_maker(training, options),
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


def split_rows(options: dict[str, Any]) -> tuple[Any, Any]:
    """Return training rows and validation rows."""
    rows = learning_rows(options["task_name"], options)
    return labelled_rows(rows, options["split_column"], options["validation_fraction"])


def model_maker(training: Any, options: dict[str, Any]) -> Callable[[], Any]:
    """Return what makes a model for training rows."""
    from tfllm.tasks.registry import find_task

    task = find_task(options["task_name"])
    head = task.head_of(training) | ({} if options["pooling"] is None else {"pooling": options["pooling"]})
    return lambda: task.from_preset(options["preset"], max_length=options["max_length"], **head)


def _decision(task_name: str, rows: Any, out_of_scope: str | None) -> Callable[[Any], dict[str, float]]:
    """Return what chooses a model's thresholds on rows that it was not trained on: model -> name and threshold.

    Raises:
        ConfigError: such a model has nothing to choose.
        DataError: the rows have nothing to choose by.
    """
    kind = (task_name, rows.label_kind, out_of_scope is not None)
    if kind == ("text_classifier", "labels", False):
        return lambda model: model.tune_thresholds(rows)
    if kind == ("text_classifier", "label", True):
        if out_of_scope not in rows.label_values:
            raise DataError(f"Expected validation rows labelled '{out_of_scope}'. Received: none in {rows.source}.")
        return lambda model: {str(out_of_scope): model.tune_out_of_scope(rows, label=out_of_scope)}
    if kind == ("question_answerer", "answers", False):
        if all(rows.targets):
            raise DataError(f"Expected validation rows without an answer. Received: answers in all of {rows.source}.")
        return lambda model: {"no_answer": model.tune_no_answer(rows)}
    raise ConfigError(
        "Expected --tune-decision with a model that has something to choose: text_classifier with --label-kind labels "
        "or with --out-of-scope LABEL, or question_answerer. Received: "
        f"--task {task_name} on rows of kind {rows.label_kind}, --out-of-scope {out_of_scope or 'not given'}."
    )


def _without(rows: Any, label: str | None) -> Any:
    """Return the rows that do not have a label."""
    if label is None:
        return rows
    from tfllm.data.schema import TextDataset

    columns = {name: getattr(rows, name) for name in ("text", "text_pair", "label", "label_kind", "source")}
    return TextDataset(rows.frame[[value != label for value in rows.label_values]], **columns)


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
