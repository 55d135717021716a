"""What an evaluation found: the `Report`, with its tables and pictures."""

import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import jinja2

from tfllm.errors import DataError

_FORMATS = (".html", ".md", ".json")
_LONG_TEXT = 40

Cell = str | int | float


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: what stands over it.
        columns: the names of the columns.
        rows: the cells; a float is shown with three places, a whole number as it is.
        shares: the columns whose numbers lie between 0 and 1, shown with a bar.
        caption: a sentence about it.
        pictured: whether a picture shows the same, so that the HTML page leaves it out.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    shares: tuple[str, ...] = ()
    caption: str = ""
    pictured: bool = False

    def to_dict(self) -> list[dict[str, Cell]]:
        """Return the rows as column name -> cell."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Picture:
    """A picture of a report, drawn when it is shown.

    Attributes:
        title: what stands over it; neighbours with one title stand side by side.
        caption: how it is read.
        draw: makes one `<svg>` element.
    """

    title: str
    caption: str
    draw: Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """How good the answers to one data set are.

    Each kind of label has a report of its own, made by `tfllm.evaluate`; that of a classification also has `accuracy`,
    `labels`, `classes` and `confusion`.

    Attributes:
        title: what was judged.
        rows: how many rows.
        metrics: metric name -> value over all rows.
        mistakes: the worst wrong answers, the worst first, as column name -> cell.
        tables: further tables.
        pictures: what the HTML page shows beside them.
        cards: the metrics that stand on top in large letters.
        details: what else there is to count, such as "3 labels".
        mistakes_title: what stands over the mistakes.
        baselines: the metrics of what the model has to beat, by name.

    Example:
        >>> report = Report(title="Reviews", rows=2, metrics={"pearson": 0.5}, mistakes=[])
        >>> print(report)
        Reviews: 2 rows
        pearson  0.5000
    """

    title: str
    rows: int
    metrics: dict[str, float]
    mistakes: list[dict[str, Any]]
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = field(default=(), compare=False, repr=False)
    cards: tuple[str, ...] = field(default=(), repr=False)
    details: str = field(default="", repr=False)
    mistakes_title: str = field(default="The worst mistakes", repr=False)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict, repr=False)

    _plain: ClassVar[tuple[str, ...]] = ("title", "rows", "metrics")
    """The attributes that `to_dict` gives as they are, before tables and mistakes."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        found = {name: getattr(self, name) for name in self._plain}
        tables = {table.title: table.to_dict() for table in self.tables}
        return {**found, "tables": tables, "mistakes": self.mistakes, **self._baselines()}

    def _baselines(self) -> dict[str, Any]:
        return {"baselines": self.baselines} if self.baselines else {}

    def to_html(self) -> str:
        """Return one self-contained page, with the pictures inside."""
        sections = [
            (title, [(picture.draw(), picture.caption) for picture in group])
            for title, group in itertools.groupby(self.pictures, key=lambda picture: picture.title)
        ]
        return _template("report.html.jinja").render(report=self, sections=sections)

    def to_markdown(self) -> str:
        """Return the tables as Markdown."""
        return _template("report.md.jinja").render(report=self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the report; the ending `.html`, `.md` or `.json` says how.

        Raises:
            DataError: the ending is another one.
        """
        file = Path(path)
        ending = file.suffix.lower()
        if ending not in _FORMATS:
            raise DataError(f"Expected a file that ends in {', '.join(_FORMATS)}. Received: '{file.name}'.")
        file.parent.mkdir(parents=True, exist_ok=True)
        write = {
            ".html": self.to_html,
            ".md": self.to_markdown,
            ".json": lambda: json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n",
        }[ending]
        file.write_text(write(), "utf-8", "xmlcharrefreplace" if ending == ".html" else "replace")
        return file

    @property
    def mistakes_table(self) -> Table:
        """The mistakes as a table."""
        columns = tuple(self.mistakes[0]) if self.mistakes else ()
        return Table(self.mistakes_title, columns, [list(mistake.values()) for mistake in self.mistakes])

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """The tables, and before them the one that sets the model beside its baselines, if there are any."""
        if not self.baselines:
            return self.tables
        names = [name for name in self.cards if name in self.metrics]
        sides = {"this model": self.metrics, **self.baselines}
        rows: list[list[Cell]] = [[side, *(found[name] for name in names)] for side, found in sides.items()]
        return (Table("Beside baselines", ("", *(name.replace("_", " ") for name in names)), rows), *self.tables)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        width = max(map(len, self.metrics))
        lines = [f"{name:<{width}}  {value:.4f}" for name, value in self.metrics.items()]
        for name, found in self.baselines.items():
            beside = [f"{card} {found[card]:.4f}" for card in self.cards[:2] if card in found]
            lines.append(f"baseline {name}: {', '.join(beside)}")
        return "\n".join([f"{self.title}: {self.rows} rows", *lines])


def shown_text(text: str | Sequence[str]) -> str:
    """Return a text, or a pair of texts, as one cell."""
    return text if isinstance(text, str) else " | ".join(text)


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfllm.evaluation", "."),
        autoescape=jinja2.select_autoescape(["html.jinja"], default_for_string=False),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = _markdown_cell
    environment.filters["shown"] = _shown
    environment.filters["words"] = lambda name: name.replace("_", " ")
    environment.tests["long"] = lambda value: isinstance(value, str) and len(value) > _LONG_TEXT
    return environment.get_template(name)


def _shown(value: Cell) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _markdown_cell(value: object) -> str:
    """Keep a text inside its cell of a Markdown table, and its HTML from being HTML."""
    text = " ".join(str(value).split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
