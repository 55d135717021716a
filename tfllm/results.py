"""What a prediction is: small frozen records, made from a signature's outputs by their names alone.

`Task.predict_text` and `Client.predict` both end here, which is why they return the same things. numpy only; pandas
inside one function.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from tfllm.errors import SignatureMismatch

if TYPE_CHECKING:
    import pandas as pd

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Classification:
    """One label for one text.

    Attributes:
        label: the most probable label.
        score: its probability, 0 to 1.
        scores: the probability of every label, in the order of the model's label list.

    Example:
        >>> Classification("good", 0.9, scores=(0.1, 0.9)).label
        'good'
    """

    label: str
    score: float
    scores: tuple[float, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        return f"Classification(label={self.label!r}, score={self.score:.4f})"


Result = Classification
"""Any of the result classes."""


def results_from_outputs(outputs: Arrays) -> list[Result]:
    """Turn the outputs of a signature into one result a row.

    Args:
        outputs: output name -> array whose first dimension is the batch. `label`, `score` and `scores` give
            `Classification`.

    Raises:
        SignatureMismatch: the names are those of no known task.

    Example:
        >>> import numpy as np
        >>> results_from_outputs({"label": np.array([b"good"]), "score": np.array([0.9], "float32"),
        ...                       "scores": np.array([[0.1, 0.9]], "float32")})
        [Classification(label='good', score=0.9000)]
    """
    if {"label", "score", "scores"} <= outputs.keys():
        return [
            Classification(_text(label), float(score), tuple(map(float, scores)))
            for label, score, scores in zip(outputs["label"], outputs["score"], outputs["scores"], strict=True)
        ]
    raise SignatureMismatch(
        "Expected outputs of a tfllm task ('label', 'score', 'scores'). "
        f"Received: {sorted(outputs)}. Use the raw arrays for models of other makers."
    )


def results_to_frame(results: Sequence[Result]) -> "pd.DataFrame":
    """Return the results as a table, one row a result (needs pandas)."""
    import pandas as pd

    columns = [column.name for column in fields(results[0] if results else Result)]
    return pd.DataFrame([asdict(result) for result in results], columns=columns)


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
