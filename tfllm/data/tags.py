"""Tags of tokens (BIO and its relatives) as entities with offsets, and tokens as a text."""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.cells import without_lone_surrogates
from tfllm.errors import ConfigError, choices_hint

Entity = tuple[int, int, str]

TAG_SCHEMES = {
    "bio": "B- begins an entity, I- continues it, O is outside (also called IOB2)",
    "iob1": "I- is inside an entity, B- begins one only right after another of its type",
    "bilou": "B-, I-, L- (or E-) begin, continue and end an entity, U- (or S-) is one of a single token",
    "plain": "each token has a tag of its own, such as its part of speech",
}
"""How tags of tokens can be written."""

_OUTSIDE = ("O", "")
_PREFIXES = {"bio": "BI", "iob1": "BI", "bilou": "BILU"}
_OTHER_NAMES = {"E": "L", "S": "U"}


class BadToken(ValueError):
    """A token, or its tag, cannot stand where it stands.

    Attributes:
        position: the token's number in its text, from 0.
    """

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = position


def require_tag_scheme(scheme: str) -> None:
    """Raise `ConfigError`, naming the schemes, unless there is such a scheme."""
    if scheme not in TAG_SCHEMES:
        raise ConfigError(
            f"Expected a scheme of tags. Received: tag_scheme={scheme!r}. {choices_hint(scheme, TAG_SCHEMES)}"
        )


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Return tokens as one text, with a space between them, and the place of each token in it.

    Example:
        >>> join_tokens(["In", "Paris", "."])
        ('In Paris .', [(0, 2), (3, 8), (9, 10)])
    """
    places, start = [], 0
    for token in tokens:
        places.append((start, start + len(token)))
        start += len(token) + 1
    return " ".join(tokens), places


def read_tags(cell: Any) -> list[str] | None:
    """Return the tags of a cell, or None if it does not hold tags.

    Tags are a list of strings, that list as JSON, or strings with blanks between them.

    Example:
        >>> read_tags("O B-city"), read_tags(["O", "B-city"]), read_tags([[3, 8, "city"]])
        (['O', 'B-city'], ['O', 'B-city'], None)
    """
    if isinstance(cell, str):
        if not cell.lstrip().startswith(("[", "{")):
            return cell.split() or None
        cell = _parsed(cell)
    if not isinstance(cell, list | tuple | np.ndarray) or len(cell) == 0:
        return None
    return [str(tag) for tag in cell] if all(isinstance(tag, str) for tag in cell) else None


def read_tokens(cell: Any, tags: Any) -> list[str] | None:
    """Return the tokens of a cell, or None if it holds a text.

    Args:
        cell: the cell. Tokens are a list of strings; that list as JSON, where the tags are one too.
        tags: the cell of the tags, or None.

    Raises:
        ValueError: a token is not a string.

    Example:
        >>> read_tokens('["In", "Paris"]', '["O", "B-city"]'), read_tokens('["In", "Paris"]', [[3, 8, "city"]])
        (['In', 'Paris'], None)
    """
    if isinstance(cell, str):
        if not (cell.lstrip().startswith("[") and isinstance(tags, str) and tags.lstrip().startswith("[")):
            return None
        cell = _parsed(cell) if read_tags(tags) else None
        if not isinstance(cell, list) or not any(isinstance(token, str) for token in cell):
            return None
    if not isinstance(cell, list | tuple | np.ndarray):
        return None
    for position, token in enumerate(cell):
        if not isinstance(token, str):
            raise ValueError(f"{token!r:.40} instead of text as token {position}")
    return [without_lone_surrogates(token) for token in cell]


def _parsed(cell: str) -> Any:
    """Return a cell read as JSON, or None: whoever reads it next says what is wrong with it."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return None


def tagged_entities(tags: Sequence[str], text: str | Sequence[str], scheme: str) -> list[Entity]:
    """Return the entities of a text whose words, or whose tokens, have tags.

    Args:
        tags: one tag a word.
        text: the text, whose words have white space between them, or its tokens.
        scheme: one of `TAG_SCHEMES`.

    Raises:
        ValueError: there are more or fewer tags than words, or a tag cannot stand where it stands.

    Example:
        >>> tagged_entities(["O", "B-city"], "In  Paris", "bio")
        [(4, 9, 'city')]
    """
    if isinstance(text, str):
        places = [found.span() for found in re.finditer(r"\S+", text)]
    else:
        places = join_tokens(text)[1]
    if len(places) != len(tags):
        raise ValueError(f"{len(tags)} tags for {len(places)} words")
    try:
        return tags_to_entities(tags, places, scheme)
    except BadToken as error:
        raise ValueError(f"word {error.position}: {error}") from error


def tags_to_entities(tags: Sequence[str], places: Sequence[tuple[int, int]], scheme: str = "bio") -> list[Entity]:
    """Turn the tags of tokens into entities.

    Args:
        tags: one tag a token.
        places: start and end of each token in the text.
        scheme: one of `TAG_SCHEMES`.

    Returns:
        `(start, end, entity)` of each entity, in their order. With "plain", each token whose tag is not empty is one.

    Raises:
        BadToken: a tag is not of the scheme, continues what has not begun, or is that of an empty token.

    Example:
        >>> tags_to_entities(["O", "B-city", "I-city"], [(0, 2), (3, 6), (7, 11)])
        [(3, 11, 'city')]
    """
    _require_words(tags, places, scheme)
    if scheme == "plain":
        return [(*place, tag) for tag, place in zip(tags, places, strict=True) if tag]
    entities: list[Entity] = []
    before = ("O", "")
    for position, (tag, (start, end)) in enumerate(zip(tags, places, strict=True)):
        prefix, kind = _parse(tag, position, scheme)
        continues = prefix in "IL" and before[0] in "BI" and before[1] == kind
        _require_order(position, tag, before, prefix, continues, scheme)
        if continues:
            entities[-1] = (entities[-1][0], end, kind)
        elif prefix != "O":
            entities.append((start, end, kind))
        before = (prefix, kind)
    if scheme == "bilou" and before[0] in "BI":
        raise BadToken(len(tags) - 1, f"'{tags[-1]}' at the end, where L-{before[1]} should close it")
    return entities


def _require_words(tags: Sequence[str], places: Sequence[tuple[int, int]], scheme: str) -> None:
    outside = ("",) if scheme == "plain" else _OUTSIDE
    for position, (tag, (start, end)) in enumerate(zip(tags, places, strict=True)):
        if start == end and tag not in outside:
            raise BadToken(position, f"tag '{tag}' of an empty token")


def _parse(tag: str, position: int, scheme: str) -> tuple[str, str]:
    if tag in _OUTSIDE:
        return "O", ""
    prefix, separator, kind = tag.partition("-")
    if scheme == "bilou":
        prefix = _OTHER_NAMES.get(prefix, prefix)
    if not separator or not kind or len(prefix) != 1 or prefix not in _PREFIXES[scheme]:
        wanted = ", ".join(f"{letter}-..." for letter in _PREFIXES[scheme])
        raise BadToken(position, f"tag '{tag}' instead of O or {wanted} (tag_scheme='{scheme}')")
    return prefix, kind


def _require_order(position: int, tag: str, before: tuple[str, str], prefix: str, continues: bool, scheme: str) -> None:
    shown = "-".join(filter(None, before))
    if scheme != "iob1" and prefix in "IL" and not continues:
        hint = "; if the file is IOB1, say tag_scheme='iob1'" if scheme == "bio" else ""
        raise BadToken(position, f"'{tag}' after '{shown}', where nothing of its type has begun{hint}")
    if scheme == "bilou" and before[0] in "BI" and not continues:
        raise BadToken(position, f"'{tag or 'O'}' after '{shown}', where I-{before[1]} or L-{before[1]} should follow")
