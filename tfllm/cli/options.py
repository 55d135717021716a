"""Options that several verbs share."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import click

from tfllm.config import read_toml, value_types
from tfllm.errors import ConfigError, DataError, UnknownSetting, choices_hint

Command = Callable[..., Any]
_WITHOUT_LABELS = ("masked_lm", "reranker", "text_embedder")
_OF_THREE_TEXTS = "text_embedder"
_DATA_OPTIONS = ("text", "text_pair", "label", "label_kind", "columns", "tag_scheme", "skip_bad_rows")


class _Names(click.ParamType):
    """Names with commas between them; a list of a settings file is taken as it is."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else tuple(value)


def data_options(function: Command) -> Command:
    """Add the options that say how the data is read; `load_rows` takes them."""
    function = click.option(
        "--split-column",
        help="Column that says which rows are for training and which for validation (values train and dev).",
    )(function)
    function = click.option(
        "--skip-bad-rows",
        is_flag=True,
        help="Leave out rows that cannot be read, or have no text or label; without it they are an error.",
    )(function)
    function = click.option(
        "--tag-scheme",
        help="How tags of tokens are written: bio, iob1, bilou or plain.  [default: bio; plain for .conllu]",
    )(function)
    function = click.option(
        "--columns",
        type=_Names(),
        metavar="NAME,NAME",
        help="All columns of a CoNLL-style file, such as token,pos,ner; --text and --label are two of them.",
    )(function)
    function = click.option(
        "--label-kind",
        help="What the label column holds: label, labels, value, ...  [default: as the task wants, or the file says]",
    )(function)
    function = click.option("--label", default="label", show_default=True, help="Column of the label.")(function)
    function = click.option("--text-pair", help="Column of the second text of a pair.")(function)
    return click.option("--text", default="text", show_default=True, help="Column of the text.")(function)


def load_rows(data: str, options: dict[str, Any], *, label_kind: str | None = None, **changed: Any) -> Any:
    """Load rows as the options of `data_options` say.

    Args:
        data: the file.
        options: the options of the verb; others among them do not count.
        label_kind: what the label column holds where no option says it; None leaves it to the file.
        changed: arguments of `tfllm.load_dataset` in place of the options.

    Raises:
        ConfigError: options contradict each other or the file.
        DataError: the rows cannot be used.
    """
    import tfllm

    given = {name: options[name] for name in _DATA_OPTIONS}
    given["label_kind"] = given["label_kind"] or label_kind
    return tfllm.load_dataset(data, **given | changed)


def learning_options(function: Command) -> Command:
    """Add the options of `data_options`, and those of rows to learn from without a label."""
    function = click.option(
        "--no-label",
        is_flag=True,
        help="Rows have no label: texts that fit each other, for text_embedder and reranker (or any, for masked_lm).",
    )(function)
    function = click.option(
        "--text-negative",
        help="Column of a third text, which text_embedder learns to keep apart; with --no-label.",
    )(function)
    return data_options(function)


def learning_rows(task_name: str, options: dict[str, Any]) -> Any:
    """Load the rows to learn a task from, as the options of `learning_options` say.

    Args:
        task_name: a key of `tfllm.tasks.registry.TASKS`.
        options: the options of the verb, `data` among them.

    Raises:
        ConfigError: options contradict each other or the task.
        DataError: the rows cannot be used.
    """
    from tfllm.tasks.registry import find_task

    task, no_label, text_negative = find_task(task_name), options["no_label"], options["text_negative"]
    if no_label and task_name not in _WITHOUT_LABELS:
        raise ConfigError(
            f"Expected --no-label with a task that learns without labels ({', '.join(_WITHOUT_LABELS)}). "
            f"Received: --task {task_name}."
        )
    if no_label and (given := [f"--{name.replace('_', '-')}" for name in ("label", "label_kind") if was_given(name)]):
        raise ConfigError(f"Expected --no-label or a label. Received: --no-label with {' and '.join(given)}.")
    if text_negative is not None and (task_name != _OF_THREE_TEXTS or not no_label or options["text_pair"] is None):
        raise ConfigError(
            f"Expected --text-negative with --task {_OF_THREE_TEXTS}, --text-pair and --no-label. "
            f"Received: --text-negative {text_negative} without one of them."
        )
    changed = {"text_negative": text_negative, **({"label": None} if no_label else {})}
    return load_rows(options["data"], options, label_kind=task.label_kind, **changed)


def was_given(name: str) -> bool:
    """Whether an option of the verb that runs was given, on the command line or in a settings file."""
    return click.get_current_context().get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


class _Numbers(click.ParamType):
    """A word, or numbers by name such as `spam=3,ham=1`; a table of a settings file is taken as it is."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or "=" not in value:
            return value
        pairs = [item.rpartition("=") for item in value.split(",")]
        try:
            return {name.strip(): float(number) for name, _, number in pairs}
        except ValueError:
            self.fail(f"{value!r} is not of the form name=number,name=number.", param, ctx)


_NUMBERS = _Numbers()


def settings_options(cls: type) -> Callable[[Command], Command]:
    """Add one option for each field of a settings dataclass, named and typed as the field.

    Options that are not given stay out of the call (they are None), so that a settings file can hold them.
    """
    hints = typing.get_type_hints(cls)
    descriptions = field_descriptions(cls)

    def decorate(function: Command) -> Command:
        for field in reversed(dataclasses.fields(cls)):
            kinds = value_types(hints[field.name])
            flag = "--" + field.name.replace("_", "-")
            text = f"{descriptions[field.name]}  [default: {field.default}]"
            if bool in kinds:
                option = click.option(f"{flag}/--no-{flag[2:]}", field.name, default=None, help=text)
            else:
                kind = _NUMBERS if dict in kinds else kinds[0]
                option = click.option(flag, field.name, type=kind, default=None, help=text)
            function = option(function)
        return function

    return decorate


def field_descriptions(cls: type) -> dict[str, str]:
    """Read what each field means from the `Attributes:` section of the class's docstring."""
    lines = (cls.__doc__ or "").split("Attributes:")[1].strip().splitlines()
    found: dict[str, str] = {}
    name = ""
    for line in map(str.strip, lines):
        if line.endswith(":"):  # the next section of the docstring
            break
        head, colon, rest = line.partition(": ")
        if colon and head.isidentifier():
            name = head
            found[name] = rest[0].upper() + rest[1:]
        elif name and line:
            found[name] += f" {line}"
    return found


def config_option(function: Command) -> Command:
    """Add `--config`: a TOML file whose keys are the verb's options; what the command line says wins."""
    return click.option(
        "--config",
        type=click.Path(),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="TOML file with any of these options (batch_size = 16); options given here win.",
    )(function)


def _read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    if path is None:
        return
    stored = read_toml(path)
    known = [str(option.name) for option in context.command.params if option.name not in ("config", "data")]
    for name in stored:
        if name not in known:
            choices = choices_hint(name, known)
            raise UnknownSetting(f"Expected an option of {context.info_name} in '{path}'. Received: {name}. {choices}")
    context.default_map = stored


def labelled_rows(rows: Any, split_column: str | None, fraction: float) -> tuple[Any, Any]:
    """Return training and validation rows: by the data's own split (values train and dev), or a stratified one."""
    if split_column is None:
        return rows.split(fraction)
    parts = rows.split_by(split_column)
    if not {"train", "dev"} <= parts.keys():
        raise DataError(f"Expected the values 'train' and 'dev' in column '{split_column}'. Received: {sorted(parts)}.")
    return parts["train"], parts["dev"]


def held_out_rows(rows: Any, split_column: str | None, fraction: float | None) -> Any:
    """Return the rows to judge on: the validation rows of a split, or all if no split is named."""
    if split_column is None and fraction is None:
        return rows
    return labelled_rows(rows, split_column, fraction or 0.0)[1]


def held_out_option(function: Command) -> Command:
    """Add `--validation-fraction` to a verb that judges: the same fraction as in training gives the same rows."""
    return click.option(
        "--validation-fraction",
        type=float,
        help="Use only the rows that `tfllm train` with this fraction held out.  [default: all rows]",
    )(function)
