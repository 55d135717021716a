"""The judge of entities: strict precision, recall and F1, where type and both ends must be right."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tfllm.data.labels import sorted_labels
from tfllm.data.schema import TextDataset
from tfllm.evaluation.classification import classes_table
from tfllm.evaluation.report import Report, shown_text
from tfllm.results import Entities

Span = tuple[int, int, str]


def judge(data: TextDataset, answers: Sequence[Entities], *, title: str, mistakes: int = 20) -> Report:
    """Judge the entities that were found.

    Args:
        data: the rows.
        answers: one a row.
        title: what to call it.
        mistakes: how many texts with wrong or missing entities to list, those with the most first.

    Returns:
        The report; its table has strict precision, recall and F1 of each type.

    Example:
        >>> import pandas as pd
        >>> from tfllm.results import Entity
        >>> data = TextDataset(pd.DataFrame({"text": ["In Paris"], "label": [[(3, 8, "city")]]}), label_kind="entities")
        >>> report = judge(data, [Entities([Entity("city", "Paris", 3, 8, 0.9)])], title="Cities")
        >>> report.metrics["f1"]
        1.0
    """
    expected = [[tuple(span) for span in row] for row in data.targets_of("entities")]
    predicted = [[(found.start, found.end, found.entity) for found in row] for row in answers]
    classes = entity_scores(expected, predicted)
    wrong = [set(want) ^ set(got) for want, got in zip(expected, predicted, strict=True)]
    worst = sorted((row for row in range(len(wrong)) if wrong[row]), key=lambda row: -len(wrong[row]))[:mistakes]
    texts = data.texts
    return Report(
        title=title,
        rows=len(expected),
        metrics=dict(entity_metrics(expected, predicted)),
        mistakes=[
            {
                "text": shown_text(texts[row]),
                "expected": _shown(texts[row], expected[row]),
                "predicted": _shown(texts[row], predicted[row]),
                "wrong": len(wrong[row]),
            }
            for row in worst
        ],
        tables=(classes_table(classes),),
        cards=("f1", "precision", "recall", "macro_f1"),
        details=f"{sum(map(len, expected))} entities of {len(classes)} types",
    )


def entity_metrics(
    expected: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]
) -> Iterator[tuple[str, float]]:
    """Yield the metrics of entities over all texts.

    Args:
        expected: `(start, end, type)` of the right entities of each text.
        predicted: those that were found.

    Yields:
        `precision`, `recall` and `f1` over all entities, `macro_f1` over the types, and `exact_match`, the share of
        texts whose entities are all right.

    Reference:
        Tjong Kim Sang and De Meulder, 2003, "Introduction to the CoNLL-2003 shared task", section 2.4.

    Example:
        >>> dict(entity_metrics([[(0, 1, "x"), (2, 3, "y")]], [[(0, 1, "x")]]))["recall"]
        0.5
    """
    found = sum(len(set(want) & set(got)) for want, got in zip(expected, predicted, strict=True))
    sizes = (sum(len(set(row)) for row in predicted), sum(len(set(row)) for row in expected))
    yield from _precision_recall_f1(found, *sizes).items()
    by_type = entity_scores(expected, predicted)
    yield "macro_f1", sum(scores["f1"] for scores in by_type.values()) / max(len(by_type), 1)
    right = [set(want) == set(got) for want, got in zip(expected, predicted, strict=True)]
    yield "exact_match", sum(right) / max(len(right), 1)


def entity_scores(
    expected: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]
) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and support of each type."""
    right: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for want, got in zip(expected, predicted, strict=True):
        wanted.update(kind for *_, kind in set(want))
        given.update(kind for *_, kind in set(got))
        right.update(kind for *_, kind in set(want) & set(got))
    return {
        kind: {**_precision_recall_f1(right[kind], given[kind], wanted[kind]), "support": float(wanted[kind])}
        for kind in sorted_labels({*wanted, *given})
    }


def _precision_recall_f1(right: int, given: int, wanted: int) -> dict[str, float]:
    return {
        "precision": right / given if given else 0.0,
        "recall": right / wanted if wanted else 0.0,
        "f1": 2 * right / (given + wanted) if given + wanted else 0.0,
    }


def _shown(text: str, spans: Sequence[Span]) -> str:
    return ", ".join(f"{text[start:end]} ({kind})" for start, end, kind in spans)
