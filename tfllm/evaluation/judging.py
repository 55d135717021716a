"""Judge anything that predicts: `evaluate`, which picks the judge by what the rows are labelled with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, DataError
from tfllm.evaluation import answers as answer_spans
from tfllm.evaluation import classification, entities, multi_label, regression
from tfllm.evaluation.report import Report
from tfllm.results import Answer, Classification, Entities, MultiLabel, Regression, Relevance, Result

Predict = Callable[[Sequence[Any]], Sequence[Result]]

_JUDGES: Mapping[str, tuple[tuple[type, ...], Callable[..., Report]]] = MappingProxyType(
    {
        "label": ((Classification,), classification.judge),
        "labels": ((MultiLabel,), multi_label.judge),
        "value": ((Regression, Relevance), regression.judge),
        "entities": ((Entities,), entities.judge),
        "answers": ((Answer,), answer_spans.judge),
    }
)
"""Kind of label -> the records that answer it, and the function `(data, answers, *, title, mistakes) -> Report`."""


def evaluate(
    predict: Predict,
    data: TextDataset,
    *,
    title: str | None = None,
    mistakes: int = 20,
    out_of_scope: str | None = None,
    baselines: Mapping[str, Predict] = MappingProxyType({}),
) -> Report:
    """Judge a model on labelled rows, by what the rows are labelled with.

    | `data.label_kind` | answers | report |
    |---|---|---|
    | `label` | `Classification` | accuracy, F1, calibration, confusion matrix |
    | `labels` | `MultiLabel` | exact matches, F1 over labels and over rows |
    | `value` | `Regression` or `Relevance` | Pearson, Spearman, errors |
    | `entities` | `Entities` | strict precision, recall and F1, over all and for each type |
    | `answers` | `Answer` | exact match and F1 as SQuAD measures them |

    Args:
        predict: texts (or pairs) -> one result each: `model.predict_text`, `client.predict`, or any function.
        data: the rows; labels that occur only in the answers are judged too.
        title: what to call it in the report.
        mistakes: how many wrong answers to list, the worst first.
        out_of_scope: of one label a row, the label of the rows that belong to no label of the model: the report then
            tells accuracy in scope from precision, recall and AUROC out of it.
        baselines: name -> what the model has to beat, a function as `predict` is; the report sets them beside it. See
            `train_baseline`.

    Returns:
        The report.

    Raises:
        ConfigError: `out_of_scope` with rows of several labels, or of numbers.
        DataError: no row has the label `out_of_scope`; or `predict` gave another number of answers than there are
            rows, answers of another kind than the labels, or a score that is not a number.

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
    if data.label_kind not in _JUDGES:
        raise DataError(
            f"Expected rows with labels of a kind that is judged: {', '.join(_JUDGES)}. Received: {data!r}."
        )
    if out_of_scope is not None and data.label_kind != "label":
        raise ConfigError(f"Expected out_of_scope with rows of one label each. Received: {data!r}.")
    options = {} if out_of_scope is None else {"out_of_scope": out_of_scope}
    judge = _JUDGES[data.label_kind][1]
    title = title or f"Evaluation on {data.source}"
    report = judge(data, _answers(predict, data), title=title, mistakes=mistakes, **options)
    beside = {
        name: judge(data, _answers(other, data), title=name, mistakes=0, **options).metrics
        for name, other in baselines.items()
    }
    return replace(report, baselines=beside)


def _answers(predict: Predict, data: TextDataset) -> list[Result]:
    records = _JUDGES[data.label_kind][0]
    rows, answers = len(data.targets), list(predict(data.texts))
    if len(answers) != rows:
        raise DataError(f"Expected {rows} answers of predict. Received: {len(answers)}.")
    other = next((answer for answer in answers if not isinstance(answer, records)), None)
    if other is not None:
        names = " or ".join(record.__name__ for record in records)
        raise DataError(
            f"Expected answers of the kind {names}, since {data.source} is loaded with "
            f"label_kind='{data.label_kind}'. Received: {other!r:.80}. Load the rows "
            "with the kind that the model answers."
        )
    return answers
