"""Judge anything that predicts: `evaluate` and its `Report`."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from tfllm.data.labels import label_text, sorted_labels
from tfllm.data.schema import TextDataset
from tfllm.errors import DataError
from tfllm.evaluation.metrics import calibration_bins, classification_metrics, confusion_matrix, per_class
from tfllm.evaluation.plots import calibration_picture, confusion_picture, coverage_picture
from tfllm.results import Classification

Predict = Callable[[Sequence[Any]], Sequence[Classification]]

_FORMATS = (".html", ".md", ".json")


@dataclass(frozen=True)
class Report:
    """How good a classifier is on one data set.

    Attributes:
        title: what was judged.
        rows: how many rows.
        metrics: metric name -> value over all rows.
        labels: the labels.
        classes: label -> precision, recall, f1, support.
        confusion: int, one row a right label, one column a predicted one.
        mistakes: the wrong answers, the most confident first: text, expected, predicted, score.

    Example:
        >>> import pandas as pd
        >>> data = TextDataset(pd.DataFrame({"text": ["good", "bad"], "label": ["1", "0"]}))
        >>> report = evaluate(lambda texts: [Classification("1", 0.8) for _ in texts], data)
        >>> report.confusion
        [[0, 1], [0, 1]]
        >>> report.mistakes
        [{'text': 'bad', 'expected': '0', 'predicted': '1', 'score': 0.8}]
    """

    title: str
    rows: int
    metrics: dict[str, float]
    labels: tuple[str, ...]
    classes: dict[str, dict[str, float]]
    confusion: list[list[int]]
    mistakes: list[dict[str, Any]]
    _confidence: np.ndarray = field(repr=False, compare=False)
    _right: np.ndarray = field(repr=False, compare=False)

    @property
    def accuracy(self) -> float:
        """The share of rows with the right label."""
        return self.metrics["accuracy"]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        names = ("title", "rows", "metrics", "labels", "classes", "confusion", "mistakes")
        return {name: getattr(self, name) for name in names}

    def to_html(self) -> str:
        """Return one self-contained page, with the pictures inside."""
        pictures = {
            "confusion": confusion_picture(np.array(self.confusion), self.labels),
            "calibration": calibration_picture(calibration_bins(self._confidence, self._right)),
            "coverage": coverage_picture(self._confidence, self._right),
        }
        return _template("report.html.jinja").render(report=self, pictures=pictures)

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

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        width = max(map(len, self.metrics))
        lines = [f"{name:<{width}}  {value:.4f}" for name, value in self.metrics.items()]
        return "\n".join([f"{self.title}: {self.rows} rows", *lines])


def evaluate(predict: Predict, data: TextDataset, *, title: str | None = None, mistakes: int = 20) -> Report:
    """Judge a classifier on labelled rows.

    Args:
        predict: texts (or pairs) -> one `Classification` each: `model.predict_text`, `client.predict`, or any function.
        data: the rows; labels that occur only in the answers are judged too.
        title: what to call it in the report.
        mistakes: how many wrong answers to list, the most confident first.

    Returns:
        The report.

    Raises:
        DataError: `predict` gave another number of answers than there are rows, or a score that is not a number.

    Example:
        >>> import pandas as pd
        >>> data = TextDataset(pd.DataFrame({"text": ["good", "bad"], "label": ["1", "0"]}))
        >>> report = evaluate(lambda texts: [Classification("1", 0.8) for _ in texts], data)
        >>> report.accuracy
        0.5
    """
    _require_arguments(predict, data)
    expected = data.label_values
    answers = list(predict(data.texts))
    if len(answers) != len(expected):
        raise DataError(f"Expected {len(expected)} answers of predict. Received: {len(answers)}.")
    predicted = [label_text(answer.label) for answer in answers]
    confidence = np.array([answer.score for answer in answers], dtype=np.float64)
    if not np.isfinite(confidence).all():
        row = int(np.flatnonzero(~np.isfinite(confidence))[0])
        raise DataError(f"Expected scores that are numbers. Received: {confidence[row]} for row {row}.")
    right = np.array([want == got for want, got in zip(expected, predicted, strict=True)])
    labels = tuple(sorted_labels([*expected, *predicted]))
    by_class = per_class(expected, predicted, labels)
    wrong = sorted(np.flatnonzero(~right), key=lambda row: -confidence[row])[:mistakes]
    texts = data.texts
    return Report(
        title=title or f"Evaluation on {data.source}",
        rows=len(expected),
        metrics=dict(classification_metrics(expected, predicted, confidence, labels)),
        labels=labels,
        classes={
            label: {name: float(values[index]) for name, values in by_class.items()}
            for index, label in enumerate(labels)
        },
        confusion=confusion_matrix(expected, predicted, labels).tolist(),
        mistakes=[
            {
                "text": texts[row] if isinstance(texts[row], str) else " | ".join(texts[row]),
                "expected": expected[row],
                "predicted": predicted[row],
                "score": round(float(confidence[row]), 4),
            }
            for row in wrong
        ],
        _confidence=confidence,
        _right=right,
    )


def _require_arguments(predict: object, data: object) -> None:
    if not callable(predict) or not isinstance(data, TextDataset):
        raise DataError(
            "Expected a function of texts, such as model.predict_text, and a TextDataset. "
            f"Received: {type(predict).__name__} and {type(data).__name__}."
        )


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfllm.evaluation", "."),
        autoescape=jinja2.select_autoescape(["html.jinja"], default_for_string=False),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = _markdown_cell
    return environment.get_template(name)


def _markdown_cell(value: object) -> str:
    """Keep a text inside its cell of a Markdown table, and its HTML from being HTML."""
    text = " ".join(str(value).split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
