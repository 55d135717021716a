"""Packages that only some users need, and that an extra of this one installs."""

import importlib
from typing import Any

from tfllm.errors import ConfigError


def import_extra(name: str, extra: str) -> Any:
    """Return a module.

    Args:
        name: the module.
        extra: the extra that installs it.

    Raises:
        ConfigError: it is not installed.

    Example:
        >>> import_extra("json", "search").dumps(1)
        '1'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Expected the package '{error.name}', which is not installed. "
            f"Install it with: pip install 'tfllm[{extra}]'"
        ) from error
