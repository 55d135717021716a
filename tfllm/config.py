"""Settings as data: a frozen dataclass is at once keyword arguments, TOML keys and command-line flags."""

import dataclasses
import inspect
import os
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tfllm.errors import ConfigError, UnknownSetting, choices_hint

Settings = TypeVar("Settings")
Function = TypeVar("Function", bound=Callable[..., Any])


def make_settings(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Make a settings dataclass from plain values.

    Args:
        cls: a dataclass whose fields have simple types (bool, int, float, str, dict, each perhaps with None).
        values: setting name -> value.

    Raises:
        UnknownSetting: a name is not a field; the message names the close matches.
        ConfigError: a value has the wrong type, or a setting without a default is not there.
    """
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    known = [field.name for field in fields]
    checked = {}
    for name, value in values.items():
        if name not in known:
            raise UnknownSetting(f"Expected a setting of {cls.__name__}. Received: {name}. {choices_hint(name, known)}")
        checked[name] = _checked(name, value, value_types(hints[name]))
    missing = [field.name for field in fields if field.name not in checked and _is_required(field)]
    if missing:
        raise ConfigError(f"Expected a value for {', '.join(missing)} of {cls.__name__}. Received: none.")
    return cls(**checked)


def takes_settings(cls: type[Any]) -> Callable[[Function], Function]:
    """Decorate a function with `**settings`: its signature shows the fields of the settings, for notebooks and help.

    Args:
        cls: the dataclass that the function makes of its settings.

    Example:
        >>> @dataclasses.dataclass
        ... class Size:
        ...     width: int = 3
        >>> @takes_settings(Size)
        ... def draw(name, **settings): ...
        >>> str(inspect.signature(draw)).replace("'", "")
        '(name, *, width: int = 3)'
    """
    keyword = inspect.Parameter.KEYWORD_ONLY
    shown = [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=field.type)
        for field in dataclasses.fields(cls)
    ]

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = list(signature.parameters.values())[:-1]
        function.__signature__ = signature.replace(parameters=[*own, *shown])  # type: ignore[attr-defined]
        return function

    return decorate


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def value_types(hint: Any) -> tuple[type, ...]:
    """Return the types that a field's annotation allows, None as `NoneType`, `dict[str, float]` as `dict`."""
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return tuple(typing.get_origin(kind) or kind for kind in (typing.get_args(hint) if union else (hint,)))


def _checked(name: str, value: Any, allowed: tuple[type, ...]) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed and int not in allowed:
        return float(value)
    if isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool)):
        return value
    expected = " or ".join("None" if kind is types.NoneType else kind.__name__ for kind in allowed)
    raise ConfigError(f"Expected {name} of type {expected}. Received: {name}={value!r} ({type(value).__name__}).")


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read settings from a TOML file.

    Raises:
        ConfigError: the file is not there, cannot be read or is not TOML; the message names the place.
    """
    file = Path(path)
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"Expected a settings file. Received: '{file}', which is not there.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"Expected TOML in '{file}'. Received: {error}.") from error
    except OSError as error:
        raise ConfigError(f"Expected a settings file that can be read. Received: '{file}': {error}") from error
