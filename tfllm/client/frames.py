"""DataFrames to texts and back; pandas is loaded inside these functions only."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tfllm.client.calls import Item
from tfllm.errors import ConfigError, MissingColumn, choices_hint
from tfllm.outputs import ALL_COLUMNS, ROW_WIDE, results_to_frame
from tfllm.results import Result

if TYPE_CHECKING:
    import pandas as pd


def texts_of(frame: "pd.DataFrame", text: str, text_pair: str | None) -> list[Item]:
    """Return the texts, or the pairs, of a table's columns.

    Raises:
        MissingColumn: the table has no such column.
    """
    for column in (text, text_pair):
        if column is not None and column not in frame.columns:
            raise MissingColumn(
                f"Expected a column '{column}' in the DataFrame. {choices_hint(column, map(str, frame.columns))}"
            )
    if text_pair is None:
        return list(frame[text])
    return list(zip(frame[text], frame[text_pair], strict=True))


def may_clash(frame: "pd.DataFrame", prefix: str) -> bool:
    """Say whether a column has a name that the results of some model have."""
    return any(prefix + name in frame.columns for name in ALL_COLUMNS.difference(ROW_WIDE))


def check_free(frame: "pd.DataFrame", columns: Iterable[str], prefix: str) -> None:
    """Refuse a table that has columns of the results' names already.

    Args:
        frame: the table.
        columns: the columns of the results.
        prefix: goes before their names.

    Raises:
        ConfigError: some names are taken; the message says which.
    """
    names = [prefix + name for name in columns if name not in ROW_WIDE]
    if taken := [name for name in names if name in frame.columns]:
        raise ConfigError(
            f"Expected a DataFrame without the columns that are added ({', '.join(names)}). "
            f"Received: {', '.join(taken)}. Give them other names, for example prefix='predicted_'."
        )


def with_results(frame: "pd.DataFrame", results: Sequence[Result], prefix: str) -> "pd.DataFrame":
    """Return a new table: the rows as they are, index included, and the results' columns.

    Raises:
        ConfigError: the table has columns of the results' names already; the message says which.
    """
    found = results_to_frame(results).drop(columns=list(ROW_WIDE), errors="ignore")
    check_free(frame, map(str, found.columns), prefix)
    return frame.assign(**{f"{prefix}{name}": found[name].to_numpy() for name in found.columns})
