"""An exported version as a function of texts, without a server: what `export(judge=...)` judges."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfllm.exporting.reload import LOADERS, run_in_fresh_process
from tfllm.exporting.verify import text_array
from tfllm.outputs import results_from_outputs
from tfllm.results import Result
from tfllm.tasks.base import Task
from tfllm.tasks.rows import as_rows

_BATCH = 64

Judge = Callable[[Callable[[Sequence[Any]], list[Result]]], Mapping[str, float]]
"""A function that predicts -> figures, such as `lambda predict: tfllm.evaluate(predict, dev).metrics`."""


def served_predict(folder: Path, input_names: Sequence[str]) -> Callable[[Sequence[Any]], list[Result]]:
    """Return a function that answers texts, or pairs of texts, as a server of the version does.

    Each call of it loads the version anew in a process of its own, by the graph-and-session loader, and asks the
    default signature in batches of 64.

    Args:
        folder: the SavedModel.
        input_names: the inputs, one or two, in the order of the texts of a row.
    """

    def predict(texts: Sequence[Any]) -> list[Result]:
        rows = as_rows(texts)
        batches = [
            {
                name: text_array(row[place] for row in rows[start : start + _BATCH])
                for place, name in enumerate(input_names)
            }
            for start in range(0, len(rows), _BATCH)
        ]
        requests = [("serving_default", batch) for batch in batches]
        answers = run_in_fresh_process(folder, requests, LOADERS[-1:])[LOADERS[-1]] if requests else []
        return [
            result
            for batch, answer in zip(batches, answers, strict=True)
            for result in results_from_outputs(answer, batch)
        ]

    return predict


def judged(
    model: Task, folder: Path, judge: Judge | None, *, pairs: bool, evaluation: Mapping[str, float] | None
) -> dict[str, dict[str, float]]:
    """Return the figures of a model that a contract holds, in Keras and as exported.

    Args:
        model: the task in Keras.
        folder: its SavedModel.
        judge: finds the figures, or None for those that are known alone.
        pairs: whether the signature takes pairs.
        evaluation: the figures in Keras, where they are known.
    """
    known = dict(evaluation or {})
    if judge is None:
        return {"evaluation": known, "evaluation_exported": {}}
    exported = _plain(judge(served_predict(folder, model.input_names(pairs=pairs))))
    return {"evaluation": known or _plain(judge(model.predict_text)), "evaluation_exported": exported}


def _plain(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(np.asarray(value)) for name, value in figures.items()}
