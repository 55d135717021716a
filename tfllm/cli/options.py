"""Options that several verbs share."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import click

from tfllm.config import read_toml, value_types

Command = Callable[..., Any]


def data_options(*, label: bool = True) -> Callable[[Command], Command]:
    """Add the options that name the columns of the data."""

    def decorate(function: Command) -> Command:
        function = click.option(
            "--split-column",
            help="Column that says which rows are for training and which for validation (values train and dev).",
        )(function)
        if label:
            function = click.option("--label", default="label", show_default=True, help="Column of the label.")(
                function
            )
        function = click.option("--text-pair", help="Column of the second text of a pair.")(function)
        return click.option("--text", default="text", show_default=True, help="Column of the text.")(function)

    return decorate


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
                option = click.option(flag, field.name, type=kinds[0], default=None, help=text)
            function = option(function)
        return function

    return decorate


def field_descriptions(cls: type) -> dict[str, str]:
    """Read what each field means from the `Attributes:` section of the class's docstring."""
    lines = (cls.__doc__ or "").split("Attributes:")[1].strip().splitlines()
    found: dict[str, str] = {}
    name = ""
    for line in map(str.strip, lines):
        head, colon, rest = line.partition(": ")
        if colon and head.isidentifier():
            name = head
            found[name] = rest[0].upper() + rest[1:]
        elif name and line:
            found[name] += f" {line}"
    return found


def merge_settings(config: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a TOML file, overridden by those given on the command line."""
    stored = read_toml(config) if config else {}
    return {**stored, **{name: value for name, value in given.items() if value is not None}}
