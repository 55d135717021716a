"""The judge of answers to questions: exact match and F1 as SQuAD measures them."""

from collections.abc import Iterator, Sequence

from tfllm.data.answers import answer_f1, exact_match, squad_version
from tfllm.data.schema import TextDataset
from tfllm.evaluation.report import Report
from tfllm.results import Answer


def judge(data: TextDataset, answers: Sequence[Answer], *, title: str, mistakes: int = 20) -> Report:
    """Judge answers to questions.

    Args:
        data: the rows; where a row has several answers, each of them is right.
        answers: one a row; an empty one says that there is none.
        title: what to call it.
        mistakes: how many wrong answers to list, those furthest from the right ones first.

    Returns:
        The report.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"q": ["Where?"], "c": ["In Paris."], "a": [[(3, 8)]]})
        >>> data = TextDataset(frame, text="q", text_pair="c", label="a", label_kind="answers")
        >>> judge(data, [Answer("Paris", 3, 8, 0.9)], title="Places").metrics["exact_match"]
        1.0
    """
    pairs = data.texts
    right = [
        [context[start:end] for start, end in spans]
        for (_, context), spans in zip(pairs, data.targets_of("answers"), strict=True)
    ]
    given = [answer.answer for answer in answers]
    version = squad_version(right)
    scores = [answer_f1(answer, golds, version=version) for answer, golds in zip(given, right, strict=True)]
    worst = sorted((row for row in range(len(scores)) if scores[row] < 1), key=lambda row: scores[row])[:mistakes]
    return Report(
        title=title,
        rows=len(right),
        metrics=dict(answer_metrics(given, right)),
        mistakes=[
            {
                "question": pairs[row][0],
                "expected": " | ".join(dict.fromkeys(right[row])) or "(none)",
                "predicted": given[row] or "(none)",
                "f1": scores[row],
                "score": round(float(answers[row].score), 4),
            }
            for row in worst
        ],
        cards=("exact_match", "f1"),
        details=f"{sum(1 for golds in right if not golds)} questions without an answer",
    )


def answer_metrics(answers: Sequence[str], right: Sequence[Sequence[str]]) -> Iterator[tuple[str, float]]:
    """Yield the metrics of answers over all questions.

    Args:
        answers: the answers; empty for none.
        right: the right answers to each question; none of them if it has none.

    Yields:
        `exact_match` and `f1`, 0 to 1 (SQuAD's own script gives percent); where some questions have no answer also
        `has_answer_exact_match`, `has_answer_f1` and `no_answer_accuracy`. The rules are those of the script of version
        1.1 where all questions have an answer, else of version 2.0.

    Reference:
        Rajpurkar et al., 2016, "SQuAD", section 5; Rajpurkar et al., 2018, "Know what you don't know".

    Example:
        >>> dict(answer_metrics(["the tower", ""], [["tower"], []]))["exact_match"]
        1.0
    """
    version = squad_version(right)
    exact = [exact_match(answer, golds, version=version) for answer, golds in zip(answers, right, strict=True)]
    f1 = [answer_f1(answer, golds, version=version) for answer, golds in zip(answers, right, strict=True)]
    yield "exact_match", _mean(exact)
    yield "f1", _mean(f1)
    if not all(right):
        for name, values in (("exact_match", exact), ("f1", f1)):
            yield f"has_answer_{name}", _mean([value for value, golds in zip(values, right, strict=True) if golds])
        yield "no_answer_accuracy", _mean([value for value, golds in zip(exact, right, strict=True) if not golds])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
