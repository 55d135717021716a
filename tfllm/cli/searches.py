"""What to search, as it is written on the command line."""

from collections.abc import Iterable
from typing import Any

from tfllm.errors import ConfigError


def search_spaces(texts: Iterable[str]) -> dict[str, Any]:
    """Read what to search.

    Args:
        texts: each `name=low..high` or `name=choice,choice,...`.

    Returns:
        name -> a pair, or a list.

    Raises:
        ConfigError: a text is neither.

    Example:
        >>> search_spaces(["learning_rate=1e-5..1e-4", "batch_size=16,32", "schedule=linear,cosine"])
        {'learning_rate': (1e-05, 0.0001), 'batch_size': [16, 32], 'schedule': ['linear', 'cosine']}
    """
    spaces: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        low, dots, high = values.partition("..")
        if not (name and equals and low) or (dots and not high):
            raise ConfigError(
                f"Expected a search such as learning_rate=1e-5..1e-4 or batch_size=16,32. Received: {text!r}."
            )
        space = [_value(part) for part in ((low, high) if dots else values.split(","))]
        spaces[name.strip().replace("-", "_")] = tuple(space) if dots else space
    return spaces


def _value(text: str) -> Any:
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()
