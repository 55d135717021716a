"""Judge anything that predicts: `evaluate`, which picks the judge by what the rows are labelled with."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tfllm.data.schema import TextDataset
from tfllm.errors import DataError
from tfllm.evaluation import classification, multi_label, regression
from tfllm.evaluation.report import Report
from tfllm.results import Classification, MultiLabel, Regression, Relevance, Result

Predict = Callable[[Sequence[Any]], Sequence[Result]]

_JUDGES: Mapping[str, tuple[tuple[type, ...], Callable[..., Report]]] = MappingProxyType(
    {
        "label": ((Classification,), classification.judge),
        "labels": ((MultiLabel,), multi_label.judge),
        "value": ((Regression, Relevance), regression.judge),
    }
)
"""Kind of label -> the records that answer it, and the function `(data, answers, *, title, mistakes) -> Report`."""


def evaluate(predict: Predict, data: TextDataset, *, title: str | None = None, mistakes: int = 20) -> Report:
    """Judge a model on labelled rows, by what the rows are labelled with.

    | `data.label_kind` | answers | report |
    |---|---|---|
    | `label` | `Classification` | accuracy, F1, calibration, confusion matrix |
    | `labels` | `MultiLabel` | exact matches, F1 over labels and over rows |
    | `value` | `Regression` or `Relevance` | Pearson, Spearman, errors |

    Args:
        predict: texts (or pairs) -> one result each: `model.predict_text`, `client.predict`, or any function.
        data: the rows; labels that occur only in the answers are judged too.
        title: what to call it in the report.
        mistakes: how many wrong answers to list, the worst first.

    Returns:
        The report.

    Raises:
        DataError: `predict` gave another number of answers than there are rows, answers of another kind than the
            labels, or a score that is not a number.

    Example:
        >>> import pandas as pd
        >>> data = TextDataset(pd.DataFrame({"text": ["good", "bad"], "label": ["1", "0"]}))
        >>> report = evaluate(lambda texts: [Classification("1", 0.8) for _ in texts], data)
        >>> report.accuracy
        0.5
        >>> report.mistakes
        [{'text': 'bad', 'expected': '0', 'predicted': '1', 'score': 0.8}]
    """
    if not callable(predict) or not isinstance(data, TextDataset):
        raise DataError(
            "Expected a function of texts, such as model.predict_text, and a TextDataset. "
            f"Received: {type(predict).__name__} and {type(data).__name__}."
        )
    expected = data.targets
    if data.label_kind not in _JUDGES:
        raise DataError(
            f"Expected rows with labels of a kind that is judged: {', '.join(_JUDGES)}. Received: {data!r}."
        )
    records, judge = _JUDGES[data.label_kind]
    answers = list(predict(data.texts))
    if len(answers) != len(expected):
        raise DataError(f"Expected {len(expected)} answers of predict. Received: {len(answers)}.")
    other = next((answer for answer in answers if not isinstance(answer, records)), None)
    if other is not None:
        names = " or ".join(record.__name__ for record in records)
        raise DataError(
            f"Expected answers of the kind {names}, since {data.source} is loaded with "
            f"label_kind='{data.label_kind}'. Received: {other!r:.80}. Load the rows "
            "with the kind that the model answers."
        )
    return judge(data, answers, title=title or f"Evaluation on {data.source}", mistakes=mistakes)
