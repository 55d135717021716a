"""A signature's outputs as results: which record is made follows from the names of the outputs alone.

`Task.predict_text` and `Client.predict` both end here, which is why they return the same things. numpy only; pandas
inside one function.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfllm.errors import SignatureMismatch
from tfllm.results import (
    Answer,
    Classification,
    Embedding,
    Entities,
    Entity,
    FilledMask,
    MultiLabel,
    Regression,
    Relevance,
    Result,
)

if TYPE_CHECKING:
    import pandas as pd

Columns = Mapping[str, npt.NDArray[Any] | Sequence[Any]]
Texts = Mapping[str, Sequence[bytes | str]]


def results_from_outputs(outputs: Columns, texts: Texts | None = None) -> list[Result]:
    """Turn the outputs of a signature into one result a row.

    | outputs | result |
    |---|---|
    | `label`, `score`, `scores` | `Classification` |
    | `labels`, `scores`, `count` | `MultiLabel` |
    | `value` | `Regression` |
    | `entity`, `word`, `start`, `end`, `score`, `count` | `Entities` |
    | `answer`, `start`, `end`, `score` | `Answer` |
    | `embedding` | `Embedding` |
    | `token`, `score` | a tuple of `FilledMask` |
    | `score` alone | `Relevance` |

    Args:
        outputs: output name -> array whose first dimension is the batch, or a list with one item a row. Further
            outputs do not matter.
        texts: input name -> the texts that were sent; they let `Entities` and `Answer` show themselves in their text.

    Raises:
        SignatureMismatch: the names are those of no known task.

    Example:
        >>> results_from_outputs({"label": np.array([b"good"]), "score": np.array([0.9], "float32"),
        ...                       "scores": np.array([[0.1, 0.9]], "float32")})
        [Classification(label='good', score=0.9000)]
    """
    return list(_kind_of(outputs.keys()).make(outputs, texts or {}))


def columns_from_outputs(names: Set[str]) -> tuple[str, ...]:
    """Return the columns that a table of results has, from the names of the outputs alone.

    Raises:
        SignatureMismatch: the names are those of no known task.

    Example:
        >>> columns_from_outputs({"label", "score", "scores"})
        ('label', 'score', 'scores')
    """
    return _kind_of(names).columns


def _classifications(outputs: Columns, _: Texts) -> Iterator[Result]:
    columns = outputs["label"], _floats(outputs["score"]), _floats(outputs["scores"])
    return (Classification(_text(label), score, tuple(scores)) for label, score, scores in zip(*columns, strict=True))


def _multi_labels(outputs: Columns, _: Texts) -> Iterator[Result]:
    for labels, scores in zip(outputs["labels"], _floats(outputs["scores"]), strict=True):
        yield MultiLabel(tuple(_text(label) for label in labels if label), tuple(scores))


def _regressions(outputs: Columns, _: Texts) -> Iterator[Result]:
    return (Regression(value) for value in _floats(outputs["value"]))


def _relevances(outputs: Columns, _: Texts) -> Iterator[Result]:
    return (Relevance(score) for score in _floats(outputs["score"]))


def _entities(outputs: Columns, texts: Texts) -> Iterator[Result]:
    columns = [outputs[name] for name in ("entity", "word", "start", "end", "score")]
    for row, count in enumerate(outputs["count"]):
        cells = zip(*(column[row][: int(count)] for column in columns), strict=True)
        found = [Entity(_text(e), _text(w), int(s), int(t), float(score)) for e, w, s, t, score in cells]
        yield Entities(found, text=_sent(texts, "text", row))


def _answers(outputs: Columns, texts: Texts) -> Iterator[Result]:
    columns = [outputs[name] for name in ("answer", "start", "end", "score")]
    for row, (answer, start, end, score) in enumerate(zip(*columns, strict=True)):
        yield Answer(_text(answer), int(start), int(end), float(score), context=_sent(texts, "context", row))


def _embeddings(outputs: Columns, _: Texts) -> Iterator[Result]:
    return (Embedding(np.asarray(vector, np.float32)) for vector in outputs["embedding"])


def _filled_masks(outputs: Columns, _: Texts) -> Iterator[Result]:
    for tokens, scores in zip(outputs["token"], outputs["score"], strict=True):
        yield tuple(
            FilledMask(tuple(map(_text, words)), tuple(_floats(values)))
            for words, values in zip(tokens, scores, strict=True)
            if len(words) and words[0]
        )


class _Kind(NamedTuple):
    names: frozenset[str]  # of the outputs
    make: Callable[[Columns, Texts], Iterator[Result]]
    columns: tuple[str, ...]  # of a table of the results


_KINDS = (
    _Kind(frozenset({"label", "score", "scores"}), _classifications, ("label", "score", "scores")),
    _Kind(frozenset({"labels", "scores", "count"}), _multi_labels, ("labels", "scores")),
    _Kind(frozenset({"entity", "word", "start", "end", "score", "count"}), _entities, ("entities",)),
    _Kind(frozenset({"answer", "start", "end", "score"}), _answers, ("answer", "start", "end", "score")),
    _Kind(frozenset({"token", "score"}), _filled_masks, ("masks",)),
    _Kind(frozenset({"embedding"}), _embeddings, ("embedding",)),
    _Kind(frozenset({"value"}), _regressions, ("value",)),
    _Kind(frozenset({"score"}), _relevances, ("score",)),
)

ROW_WIDE = ("scores",)
"""The columns with one value a label, which are no columns beside the rows of a table."""

ALL_COLUMNS = frozenset(column for kind in _KINDS for column in kind.columns)
"""The columns that tables of results may have."""


def _kind_of(names: Set[str]) -> _Kind:
    for kind in _KINDS:
        if kind.names <= names and (kind.names != {"score"} or names == kind.names):
            return kind
    raise SignatureMismatch(
        "Expected outputs of a tfllm task, such as 'label', 'score', 'scores'. "
        f"Received: {sorted(names)}. Use the raw arrays for models of other makers."
    )


def results_to_frame(results: Sequence[Result]) -> "pd.DataFrame":
    """Return the results as a table, one row a result (needs pandas).

    `Entities` give a column `entities` of lists, masks a column `masks`, an `Embedding` a column `embedding`.
    """
    import pandas as pd

    columns = None if results else ["label", "score", "scores"]
    return pd.DataFrame([columns_of(result) for result in results], columns=columns)


def columns_of(result: Result) -> dict[str, Any]:
    """Return a result as the cells of a table's row; see `results_to_frame`.

    Example:
        >>> columns_of(Regression(3.5))
        {'value': 3.5}
    """
    if isinstance(result, Entities):
        return {"entities": [asdict(entity) for entity in result]}
    if isinstance(result, Embedding):
        return {"embedding": result.vector}
    if isinstance(result, tuple):
        return {"masks": [asdict(mask) for mask in result]}
    cells = asdict(result)
    if isinstance(result, Answer):
        del cells["context"]
    return cells


def _floats(values: npt.NDArray[Any] | Sequence[Any]) -> list[Any]:
    """Return numbers as Python's own: a list, of lists where there are two dimensions."""
    if isinstance(values, list):
        return values
    numbers: list[Any] = np.asarray(values, np.float64).tolist()
    return numbers


def _sent(texts: Texts, name: str, row: int) -> str | None:
    return _text(texts[name][row]) if name in texts else None


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
