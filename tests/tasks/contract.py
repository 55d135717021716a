"""What every task must do, checked on one task and some rows of its data: `check_task`."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.client.client import Client
from tfllm.exporting.parity import ODD_TEXTS
from tfllm.exporting.reload import run_in_fresh_process
from tfllm.exporting.saved_model import export
from tfllm.outputs import results_from_outputs
from tfllm.results import Answer, Embedding
from tfllm.server.config import ServerConfig
from tfllm.server.server import serve
from tfllm.tasks.registry import load_task
from tfllm.training.fine_tuning import fine_tune

BATCHING = """
max_batch_size { value: 64 }
max_execution_batch_size { value: 3 }
enable_large_batch_splitting { value: true }
max_enqueued_batches { value: 100 }
"""

STRING, INT, FLOAT = "string", "int32", "float32"

CONTRACT = {
    "TextClassifier": {"label": (STRING, 1), "score": (FLOAT, 1), "scores": (FLOAT, 2)},
    "MultiLabel": {"scores": (FLOAT, 2), "labels": (STRING, 2), "count": (INT, 1)},
    "TextRegressor": {"value": (FLOAT, 1)},
    "Reranker": {"score": (FLOAT, 1)},
    "TokenClassifier": {
        "entity": (STRING, 2),
        "word": (STRING, 2),
        "start": (INT, 2),
        "end": (INT, 2),
        "score": (FLOAT, 2),
        "count": (INT, 1),
    },
    "QuestionAnswerer": {"answer": (STRING, 1), "start": (INT, 1), "end": (INT, 1), "score": (FLOAT, 1)},
    "TextEmbedder": {"embedding": (FLOAT, 2)},
    "MaskedLM": {"token": (STRING, 3), "score": (FLOAT, 3)},
}
"""Task -> output name -> dtype and rank of `serving_default`; the first dimension is always the batch."""

_CLASSIFY, _REGRESS = {"classify": {"classes": (STRING, 2), "scores": (FLOAT, 2)}}, {"regress": {"outputs": (FLOAT, 1)}}
OF_EXAMPLES = {
    "TextClassifier": _CLASSIFY,
    "MultiLabel": _CLASSIFY,
    "TextRegressor": _REGRESS,
    "Reranker": _REGRESS,
}
"""Task -> signature of `tf.Example` rows -> output name -> dtype and rank."""


def check_task(task, data, folder, *, asked=None, tolerance=1e-5):
    """Check all that tasks promise.

    Args:
        task: a task with a micro backbone.
        data: labelled rows for it, a TextDataset of a few rows.
        folder: an empty folder (tmp_path).
        asked: rows like those that it answers for, where it learns from others (an embedder's pairs).
        tolerance: the largest difference of numbers between two ways.
    """
    asked = data if asked is None else asked
    check_fit(task, data)
    check_save_and_load(task, asked, folder / "saved", tolerance)
    check_fine_tune_resumes(folder / "saved", data, folder / "run")
    check_rows(task, asked, tolerance)
    check_signatures(task, pairs=asked.text_pair is not None)
    check_four_ways(task, [*asked.texts[:4], *odd_rows(asked)], folder / "models", tolerance=tolerance)


def check_fit(task, data):
    """Keras's own `fit` takes arrays and tf.data datasets of raw columns."""
    rows = task.training_rows(data)
    columns = tuple(column if isinstance(column, np.ndarray) else list(column) for column in rows.columns)
    inputs = columns if len(columns) > 1 else columns[0]
    task.fit(inputs, rows.targets, batch_size=4, epochs=1, verbose=0)
    dataset = tf.data.Dataset.from_tensor_slices((inputs, rows.targets)).batch(4)
    history = task.fit(dataset, validation_data=dataset, verbose=0).history
    assert math.isfinite(history["loss"][0])
    assert task.monitor[0] in history


def check_save_and_load(task, data, folder, tolerance):
    """A saved task is loaded without being told what it is, and answers the same."""
    task.save_to_preset(folder)
    loaded = load_task(folder)
    assert type(loaded) is type(task)
    assert loaded.head_config() == task.head_config()
    assert loaded.label_kind == task.label_kind
    assert_same_results(loaded.predict_text(data.texts), task.predict_text(data.texts), tolerance)
    same = type(task).from_preset(folder)
    assert_same_results(same.predict_text(data.texts), task.predict_text(data.texts), tolerance)


def check_fine_tune_resumes(saved, data, run_dir):
    """`fine_tune` runs, and the same call after an interruption goes on."""
    settings = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "progress": False, "run_dir": run_dir}

    begin = keras.callbacks.CallbackList.on_epoch_begin

    def stop_after_one(callbacks, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        begin(callbacks, epoch, logs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(keras.callbacks.CallbackList, "on_epoch_begin", stop_after_one)
        fine_tune(load_task(saved), data, validation_data=data, **settings)
    history = fine_tune(load_task(saved), data, validation_data=data, **settings)
    assert [row["epoch"] for row in history.epochs] == [1, 2]
    assert all(math.isfinite(row["loss"]) for row in history.epochs)


def check_rows(task, data, tolerance):
    """A row's answer does not depend on its neighbours; no rows, no answers; odd texts are answered."""
    rows = [*data.texts[:4], *odd_rows(data)]
    together = task.predict_text(rows)
    alone = [task.predict_text([row])[0] for row in rows]
    assert_same_results(alone, together, tolerance)
    assert_same_results(task.predict_text(rows, batch_size=3), together, tolerance)
    assert task.predict_text([]) == []


def check_signatures(task, *, pairs):
    """The signatures are those of the contract, and each first dimension is the batch."""
    signatures = task.signatures(pairs=pairs)
    kind = "MultiLabel" if task.label_kind == "labels" else type(task).__name__
    of_examples = OF_EXAMPLES.get(kind, {})
    assert signatures.keys() - {"query"} == {"serving_default", "tokens", *of_examples}
    for name, outputs in of_examples.items():
        assert signatures[name].method == f"tensorflow/serving/{name}"
        assert {
            alias: (spec.dtype.name, spec.shape.rank) for alias, spec in signatures[name].outputs.items()
        } == outputs
    for signature in signatures.values():
        for name, spec in {**signature.inputs, **signature.outputs}.items():
            assert spec.shape.rank >= 1 and spec.shape[0] is None, name
    served = signatures["serving_default"]
    assert tuple(served.inputs) == task.input_names(pairs=pairs)
    assert {(spec.dtype.name, spec.shape.rank) for spec in served.inputs.values()} == {(STRING, 1)}
    assert {name: (spec.dtype.name, spec.shape.rank) for name, spec in served.outputs.items()} == CONTRACT[kind]


def check_four_ways(task, rows, folder, *, tolerance=1e-5):
    """`predict_text`, tf.data, the SavedModel through both loaders, and gRPC, batched and split too, agree.

    Returns:
        way -> the largest difference of any number from `predict_text`.
    """
    pairs = isinstance(rows[0], tuple)
    columns = [[_encoded(text) for text in column] for column in (zip(*rows, strict=True) if pairs else [rows])]
    texts = dict(zip(task.input_names(pairs=pairs), columns, strict=True))
    items = list(zip(*columns, strict=True)) if pairs else columns[0]
    eager = task.predict_text(items)
    batches = tf.data.Dataset.from_tensor_slices(tuple(columns)).batch(5).map(task.answer)
    starts = range(0, len(rows), 5)
    parts = [{name: column[start : start + 5] for name, column in texts.items()} for start in starts]
    ways = {
        "tf.data": [
            result
            for batch, part in zip(batches.as_numpy_iterator(), parts, strict=True)
            for result in results_from_outputs(batch, part)
        ]
    }
    version = export(task, folder / "served", samples=rows[:2])
    arrays = {name: np.array([*column, None], dtype=object)[:-1] for name, column in texts.items()}
    for loader, answers in run_in_fresh_process(version.path, [("serving_default", arrays)]).items():
        assert {len(array) for array in answers[0].values()} == {len(rows)}
        ways[loader] = results_from_outputs(answers[0], texts)
    with serve(folder, port=0) as server, Client(server.address, model="served", timeout=300.0) as client:
        ways["gRPC"] = client.predict(items)
    (folder / "batching.config").write_text(BATCHING)
    config = ServerConfig(enable_batching=True, batching_parameters_file=str(folder / "batching.config"))
    with serve(folder / "served", port=0, config=config) as server:
        with Client(server.address, model="served", timeout=300.0) as client:  # which knows no input's name yet
            ways["batched"] = client.predict(iter(items), batch_size=2)
            ways["split"] = client.predict(items)
    return {way: assert_same_results(results, eager, tolerance) for way, results in ways.items()}


def odd_rows(data):
    """Return texts (or pairs) that every task must survive."""
    if data.text_pair is None:
        return list(ODD_TEXTS)
    return [(text, text[::-1] if text.isascii() else text) for text in ODD_TEXTS]


def assert_same_results(results, expected, tolerance):
    """Compare records field by field, and return the largest difference of numbers.

    Where two places of a text tie for the answer, rounding chooses: the same answer may then stand elsewhere.
    """
    assert [type(result) for result in results] == [type(result) for result in expected]
    pairs = zip(results, expected, strict=True)
    results = [
        dataclasses.replace(got, start=want.start, end=want.end) if _tied(got, want) else got for got, want in pairs
    ]
    largest = 0.0
    for row, (got, want) in enumerate(zip(map(_leaves, results), map(_leaves, expected), strict=True)):
        assert len(got) == len(want), f"row {row}: {results[row]} instead of {expected[row]}"
        for value, other in zip(got, want, strict=True):
            if isinstance(other, float):
                largest = max(largest, abs(value - other))
                assert abs(value - other) <= tolerance, f"row {row}: {results[row]} instead of {expected[row]}"
            else:
                assert value == other, f"row {row}: {results[row]} instead of {expected[row]}"
    return largest


def _tied(result, other):
    """Whether two answers are the same words with the same score but for rounding, each cut from its own place."""
    if not isinstance(result, Answer) or result.answer != other.answer:
        return False
    there = result.context is None or result.context[result.start : result.end] == result.answer
    return there and math.isclose(result.score, other.score, rel_tol=1e-4)


def _leaves(result):
    """Return the strings and numbers of a record, in order."""
    if isinstance(result, Embedding):
        return [float(value) for value in result.vector]
    if dataclasses.is_dataclass(result):
        return [leaf for field in dataclasses.fields(result) for leaf in _leaves(getattr(result, field.name))]
    if isinstance(result, tuple | list):
        return [leaf for item in result for leaf in _leaves(item)]
    return [result]


def _encoded(text):
    return text if isinstance(text, bytes) else text.encode("utf-8")
