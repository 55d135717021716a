"""DataFrames to texts and back; pandas is loaded inside these functions only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfllm.client.calls import Item
from tfllm.errors import ConfigError, MissingColumn, choices_hint
from tfllm.outputs import results_to_frame
from tfllm.results import Classification, Result

if TYPE_CHECKING:
    import pandas as pd

_ROW_WIDE = ("scores",)  # one value a label: not a column of a table


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


def check_columns(frame: "pd.DataFrame", prefix: str) -> None:
    """Refuse a table that has columns of the results' names already.

    Raises:
        ConfigError: it has; the message says which.
    """
    names = [f"{prefix}{name}" for name in Classification.__dataclass_fields__ if name not in _ROW_WIDE]
    if taken := [name for name in names if name in frame.columns]:
        raise ConfigError(
            f"Expected a DataFrame without the columns that are added ({', '.join(names)}). "
            f"Received: {', '.join(taken)}. Give them other names, for example prefix='predicted_'."
        )


def with_results(frame: "pd.DataFrame", results: Sequence[Result], prefix: str) -> "pd.DataFrame":
    """Return a new table: the rows as they are, index included, and the results' columns."""
    found = results_to_frame(results).drop(columns=list(_ROW_WIDE), errors="ignore").add_prefix(prefix)
    return frame.assign(**{str(name): found[name].to_numpy() for name in found.columns})
