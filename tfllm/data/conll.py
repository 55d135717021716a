"""Read CoNLL-style columns: one token a line, a blank line between texts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tfllm.data.tags import BadToken, join_tokens, tags_to_entities
from tfllm.errors import ConfigError, choices_hint

ENDINGS = (".conll", ".bio", ".iob2", ".iob", ".conllu")
"""The endings of files that are read so without being told."""

CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns of Universal Dependencies."""

_DOCUMENT_START = "-DOCSTART-"


@dataclass(frozen=True)
class ConllLayout:
    """Which columns a file has.

    Args:
        token: the name of the column of the token; in a file without named columns the first one is.
        tag: the name of the column of the tag, or None to read none; in a file without named columns the last one is.
        columns: the names of all columns, or None.
        scheme: how the tags are written, one of `tfllm.data.tags.TAG_SCHEMES`.
        comments: whether lines that begin with `#`, and tokens that stand for several, are left out (CoNLL-U).

    Raises:
        ConfigError: a column is not one of `columns`.
    """

    token: str = "text"
    tag: str | None = "label"
    columns: tuple[str, ...] | None = None
    scheme: str = "bio"
    comments: bool = False

    def __post_init__(self) -> None:
        for name in filter(None, (self.token, self.tag)):
            if self.columns is not None and name not in self.columns:
                raise ConfigError(
                    f"Expected text= and label= to be among columns=. Received: '{name}'. "
                    + choices_hint(name, self.columns)
                )

    @property
    def names(self) -> list[str]:
        """The columns of the table that is read: the text and, if there is one, the label."""
        return [self.token] if self.tag is None else [self.token, self.tag]

    def cells(self, fields: list[str]) -> tuple[str, str]:
        """Return the token and the tag of a line ("" for no tag).

        Raises:
            ValueError: the line has another number of columns.
        """
        if self.columns is None:
            if self.tag is not None and len(fields) < 2:
                raise ValueError(f"{len(fields)} column instead of a token and a tag")
            return fields[0], fields[-1]
        if len(fields) != len(self.columns):
            raise ValueError(f"{len(fields)} columns instead of {len(self.columns)} ({', '.join(self.columns)})")
        return fields[self.columns.index(self.token)], "" if self.tag is None else fields[self.columns.index(self.tag)]


def conll_rows(
    lines: Iterable[str], layout: ConllLayout, problems: list[tuple[int, str]]
) -> Iterator[tuple[int, list[Any]]]:
    """Yield each text with the line where it starts.

    Args:
        lines: the file's lines.
        layout: which columns they have.
        problems: gets the line, and what is wrong with it, of each text that cannot be read.

    Yields:
        The line, and the text (tokens with a space between them) and its entities `(start, end, entity)`.

    Example:
        >>> list(conll_rows(["In O", "Paris B-city", "", "Hello O"], ConllLayout(), []))
        [(1, ['In Paris', [(3, 8, 'city')]]), (4, ['Hello', []])]
    """
    for block in _blocks(lines, layout.comments):
        try:
            yield block[0][0], _row([fields for _, fields in block], layout)
        except BadToken as error:
            problems.append((block[error.position][0], str(error)))


def _row(lines: list[list[str]], layout: ConllLayout) -> list[Any]:
    tokens = []
    for position, fields in enumerate(lines):
        if len(fields) != len(lines[0]):
            raise BadToken(position, f"{len(fields)} columns, where the first line of the text has {len(lines[0])}")
        try:
            tokens.append(layout.cells(fields))
        except ValueError as error:
            raise BadToken(position, str(error)) from error
    text, places = join_tokens([token for token, _ in tokens])
    if layout.tag is None:
        return [text]
    return [text, tags_to_entities([tag for _, tag in tokens], places, layout.scheme)]


def _blocks(lines: Iterable[str], comments: bool) -> Iterator[list[tuple[int, list[str]]]]:
    """Yield the lines of each text as (number, fields)."""
    block: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r\n")
        if comments and line.startswith("#"):
            continue
        fields = _fields(line)
        if not any(fields) or _DOCUMENT_START in fields:
            if block:
                yield block
            block = []
        elif not (comments and not fields[0].isdigit()):
            block.append((number, fields))
    if block:
        yield block


def _fields(line: str) -> list[str]:
    """Split a line at its tabs, or else at its blanks; a no-break space belongs to its token."""
    if not line.strip():
        return []
    if "\t" in line:
        return [field.strip(" ") for field in line.split("\t")]
    return [field for field in line.split(" ") if field]
