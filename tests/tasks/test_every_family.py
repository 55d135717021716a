"""Every task on an encoder of every family: what depends on the family alone.

A case saves and loads a micro task, writes it as a SavedModel, and compares what that answers with Keras, odd texts
too. What is the same for all families is checked elsewhere: training, resuming, a fresh process, both loaders and gRPC
once a task by `contract.check_task`, and the last three once a family in `tests/exporting/test_families.py`.

The whole contract of every task on every family takes an hour, and has a command of its own: `make test-contract`.
"""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from contract import assert_same_results, check_signatures, check_task
from families import FAMILIES
from kinds import KINDS, make

from tfllm.data.schema import TextDataset
from tfllm.exporting.forward import choose_forward
from tfllm.exporting.parity import ODD_TEXTS
from tfllm.exporting.saved_model import write_saved_model
from tfllm.outputs import results_from_outputs
from tfllm.tasks.registry import load_task

ROWS = pd.DataFrame(
    {
        "text": ["the film was good", "bad food", "Ana's film", "déjà vu, awful"],
        "other": ["good film", "the food was bad", "who wrote it?", "the film was fine"],
        "label": ["good", "bad", "good", "bad"],
        "labels": [["good"], ["bad"], ["bad", "good"], []],
        "value": [1.0, 0.0, 0.75, 0.25],
        "spans": [[(4, 8, "city")], [], [(0, 3, "person")], [(0, 7, "city")]],
        "answers": [[(0, 4)], [(4, 8)], [], [(4, 8)]],
    }
)
LEARNT = {
    "one_label": {},
    "one_label_of_pairs": {"text_pair": "other"},
    "several_labels": {"label": "labels", "label_kind": "labels"},
    "number": {"label": "value", "label_kind": "value"},
    "ranking": {"text_pair": "other", "label": "value", "label_kind": "value"},
    "embedding": {"text_pair": "other", "label": None},
    "entities": {"label": "spans", "label_kind": "entities"},
    "answers": {"text_pair": "other", "label": "answers", "label_kind": "answers"},
    "masks": {"label": None},
}
"""Name -> which columns of `ROWS` the task learns from."""


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES[1:])  # each task's own tests check its whole contract on the first
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_saved_and_exported(tmp_path, kind, family):
    model, rows = make(kind, family), KINDS[kind][-1]
    pairs = isinstance(rows[0], tuple)
    check_signatures(model, pairs=pairs)
    model.save_to_preset(tmp_path / "saved")
    loaded = load_task(tmp_path / "saved")
    assert (type(loaded), loaded.head_config()) == (type(model), model.head_config())
    assert loaded.vocabulary_hash == model.vocabulary_hash
    for same, weight in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(same, weight)
    odd = [text[:200] for text in ODD_TEXTS]
    check_written(loaded, [*rows, *(zip(odd, odd, strict=True) if pairs else odd)], tmp_path / "served")


def check_written(model, rows, folder):
    """A SavedModel answers for texts, and for their tokens, as Keras does."""
    columns = list(zip(*rows, strict=True)) if isinstance(rows[0], tuple) else [rows]
    pairs = len(columns) == 2
    forward = choose_forward(model, "float32")
    write_saved_model(model, forward, model.signatures(pairs=pairs, forward=forward.graph), folder)
    served = tf.saved_model.load(str(folder)).signatures
    texts = {name: tf.constant(column) for name, column in zip(model.input_names(pairs=pairs), columns, strict=True)}
    here, there = (
        results_from_outputs(
            {name: value.numpy() for name, value in outputs.items()}, dict(zip(texts, columns, strict=True))
        )
        for outputs in (model.answer(*texts.values()), served["serving_default"](**texts))
    )
    assert_same_results(there, here, 1e-5)
    tokens = model.preprocess(*(column[:2] for column in texts.values()))
    logits = served["tokens"](**tokens)["logits"].numpy()
    expected = model.signatures(pairs=pairs)["tokens"].function(**tokens)["logits"].numpy()
    mask = tokens["padding_mask"].numpy() != 0
    real = mask if expected.shape[:2] == mask.shape else np.ones(len(expected), bool)
    np.testing.assert_allclose(logits[real], expected[real], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_task_learns(family):
    model = make("one_label", family)
    before = [variable.numpy() for variable in model.trainable_variables]
    model.compile(optimizer=keras.optimizers.Adam(0.1))
    model.fit(["good", "bad"], np.array([0, 1]), verbose=0)
    same = [np.array_equal(old, new) for old, new in zip(before, model.trainable_variables, strict=True)]
    assert not all(same)


@pytest.mark.contract
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_contract(tmp_path, kind, family):
    data = TextDataset(ROWS, source="the rows", **LEARNT[kind])
    asked = TextDataset(ROWS, label=None) if kind == "embedding" else None
    check_task(make(kind, family), data, tmp_path, asked=asked)
