"""What batches are padded to: which lengths, and that the numbers do not depend on them."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from exact_runs import StepLosses, without_dropout

from tfllm.data.schema import TextDataset
from tfllm.tasks.question_answerer import QuestionAnswerer
from tfllm.tasks.reranker import Reranker
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.tasks.text_embedder import TextEmbedder
from tfllm.tasks.token_classifier import TokenClassifier
from tfllm.training import loop
from tfllm.training.batch_lengths import BatchLengths, choose_lengths
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.settings import FineTuneConfig

LONGEST, ROWS = 64, 12
ACCURACIES = ("accuracy", "val_accuracy")
TEXTS = [" ".join(["good", "film"][(row + at) % 2] for at in range(33 + 2 * row)) for row in range(ROWS)]


def frame(**columns):
    return pd.DataFrame({"text": TEXTS, **columns})


def classes():
    data = TextDataset(frame(label=["a", "b"] * (ROWS // 2)))
    return TextClassifier.from_preset("micro_bert", labels=["a", "b"], max_length=LONGEST), data


def entities():
    data = TextDataset(frame(label=[[(0, 4, "thing")]] * ROWS), label_kind="entities")
    return TokenClassifier.from_preset("micro_bert", labels=["thing"], max_length=LONGEST), data


def answers():
    data = TextDataset(
        frame(question=["what was good?"] * ROWS, label=[[(0, 4)], [(5, 9)]] * (ROWS // 2)),
        text="question",
        text_pair="text",
        label_kind="answers",
    )
    return QuestionAnswerer.from_preset("micro_bert", max_length=LONGEST), data


def vectors():
    data = TextDataset(frame(other=TEXTS[::-1]), text_pair="other", label=None)
    return TextEmbedder.from_preset("micro_bert", max_length=LONGEST), data


def relevance():
    data = TextDataset(
        frame(other=["good" + " film" * (row % 4) for row in range(ROWS)]), text_pair="other", label=None
    )
    return Reranker.from_preset("micro_bert", max_length=LONGEST), data


def trained(make):
    keras.utils.set_random_seed(0)
    model, data = make()
    without_dropout(model)
    note = StepLosses()
    given = {"epochs": 1, "batch_size": 5, "learning_rate": 1e-2, "progress": False}
    (epoch,) = fine_tune(model, data, validation_data=data, callbacks=[note], **given).epochs
    return [*note.losses, epoch["val_loss"]], epoch


@pytest.mark.parametrize("make", [classes, entities, answers, vectors, relevance])
def test_the_numbers_do_not_depend_on_the_lengths(make, monkeypatch):
    losses, epoch = trained(make)
    monkeypatch.setattr(loop, "choose_lengths", lambda *_, **__: BatchLengths.every(LONGEST))
    exact_losses, exact = trained(make)
    np.testing.assert_allclose(losses, exact_losses, rtol=0, atol=1e-5)
    assert epoch["padding"] > exact["padding"]
    assert [epoch.get(name) for name in ACCURACIES] == [exact.get(name) for name in ACCURACIES]


def test_graded_lengths_are_few_and_near():
    rows = np.arange(1, 513)
    graded = BatchLengths.graded(512)
    padded = graded.round_up(rows)
    assert len(set(padded.tolist())) == 88 and padded[:32].tolist() == rows[:32].tolist()
    assert ((padded >= rows) & (padded - rows <= rows * 0.1)).all()
    assert padded[32:].sum() < 1.02 * rows[32:].sum()
    assert BatchLengths.graded(50).round_up(np.array([49, 50])).tolist() == [50, 50]


def test_few_lengths_fit_all_rows():
    lengths = np.random.default_rng(0).integers(3, 400, size=1000)
    few = BatchLengths.few(lengths, longest=512)
    assert len(few.lengths) <= 9 and few.lengths[-1] == 512
    assert (few.round_up(lengths) >= lengths).all() and not (few.lengths[:-1] % 8).any()
    assert BatchLengths.few(np.array([7, 7]), longest=7).lengths.tolist() == [7]


@pytest.mark.parametrize("settings", [{"batch_tokens": 100}, {"max_tokens": 100}])
def test_budgets_of_tokens_are_kept(settings):
    model, data = classes()
    lengths = model.training_rows(data).lengths
    budgeted, free = (
        choose_lengths(FineTuneConfig(**given), model, lengths, compiled=False).round_up(lengths)
        for given in (settings, {})
    )
    np.testing.assert_array_equal(budgeted, lengths)
    assert (free > lengths).any()


def test_compiled_passes_have_few_lengths():
    model, data = classes()
    lengths = model.training_rows(data).lengths
    compiled = choose_lengths(FineTuneConfig(), model, lengths, compiled=True)
    assert len(compiled.lengths) <= 9 < len(choose_lengths(FineTuneConfig(), model, lengths, compiled=False).lengths)


@pytest.mark.parametrize("width, padded", [(3, 8), (8, 8), (9, 16), (20, 20)])
@pytest.mark.parametrize("tokens_have_targets", [True, False])
def test_a_batch_is_padded(width, padded, tokens_have_targets):
    lengths = BatchLengths(np.array([8, 16, 20], np.int32))
    ones, spec = tf.ones([2, width], tf.int32), tf.TensorSpec([None, None], tf.int32)
    pad = tf.function(
        lambda *batch: lengths.pad(batch, 5, tokens_have_targets=tokens_have_targets),
        input_signature=[dict.fromkeys(("token_ids", "padding_mask", "mask_positions"), spec), spec, spec],
    )
    tokens, targets, weights = pad(dict.fromkeys(("token_ids", "padding_mask", "mask_positions"), ones), ones, ones)
    assert tokens["token_ids"].shape == tokens["padding_mask"].shape == (2, padded)
    assert tokens["mask_positions"].shape == (2, width)
    assert targets.shape == weights.shape == (2, padded if tokens_have_targets else width)
    assert (tokens["token_ids"][:, width:].numpy() == 5).all() and int(tf.reduce_sum(weights)) == 2 * width
