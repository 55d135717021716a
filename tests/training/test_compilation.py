"""XLA for the passes of a step: the same numbers, and what is refused."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from exact_runs import StepLosses, without_dropout

from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.question_answerer import QuestionAnswerer
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.tasks.token_classifier import TokenClassifier
from tfllm.training.compilation import choose_jit
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.settings import FineTuneConfig

WORDS = ["good", "bad", "film", "food", "the", "was", "great"]


def classifier():
    keras.utils.set_random_seed(0)
    return without_dropout(TextClassifier.from_preset("micro_bert", labels=["bad", "good"]))


def tagger():
    keras.utils.set_random_seed(0)
    return without_dropout(TokenClassifier.from_preset("micro_bert", labels=["thing"]))


def reader():
    keras.utils.set_random_seed(0)
    return without_dropout(QuestionAnswerer.from_preset("micro_bert", max_length=40))


def texts(rows):
    generator = np.random.default_rng(0)
    return [" ".join(generator.choice(WORDS, size=generator.integers(1, 20))) for _ in range(rows)]


@pytest.fixture(scope="module")
def reviews():
    found = texts(21)
    return TextDataset(pd.DataFrame({"text": found, "label": ["good" if "good" in t else "bad" for t in found]}))


@pytest.fixture(scope="module")
def things():
    def spans(text):
        return sorted((text.find(word), text.find(word) + 4, "thing") for word in ("film", "food") if word in text)

    found = texts(12)
    return TextDataset(pd.DataFrame({"text": found, "label": [spans(text) for text in found]}), label_kind="entities")


@pytest.fixture(scope="module")
def questions():
    found = texts(12)
    rows = {"question": ["what was good?"] * 12, "context": found, "answers": [[(0, text.find(" "))] for text in found]}
    return TextDataset(pd.DataFrame(rows), text="question", text_pair="context", label="answers", label_kind="answers")


def trained(model, data, **settings):
    note = StepLosses()
    given = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2, "progress": False, **settings}
    history = fine_tune(model, data, validation_data=data, callbacks=[note], **given)
    weights = np.concatenate([variable.numpy().ravel() for variable in model.trainable_variables])
    return [*note.losses, history.epochs[0]["val_loss"]], weights, history.epochs[0]["padding"]


@pytest.mark.parametrize("options", [{}, {"steps_per_execution": 2}], ids=["single", "several"])
def test_the_numbers_are_those_without_xla(reviews, options):
    losses, weights, padding = trained(classifier(), reviews)
    compiled_losses, compiled_weights, more_padding = trained(classifier(), reviews, jit_compile="on", **options)
    if options:
        losses = [losses[1], *losses[2:]]  # the call of two steps tells the second
    np.testing.assert_allclose(compiled_losses, losses, rtol=0, atol=1e-5)
    np.testing.assert_allclose(compiled_weights, weights, rtol=0, atol=1e-5)
    assert more_padding > padding


@pytest.mark.slow
def test_targets_of_tokens_are_padded_too(things):
    losses, weights, _ = trained(tagger(), things)
    compiled_losses, compiled_weights, _ = trained(tagger(), things, jit_compile="on")
    np.testing.assert_allclose(compiled_losses, losses, rtol=0, atol=1e-5)
    np.testing.assert_allclose(compiled_weights, weights, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_answers_do_not_depend_on_padding(questions):
    losses, *_ = trained(reader(), questions)
    compiled_losses, *_ = trained(reader(), questions, jit_compile="on")
    # Not the weights: where a gradient is zero but for rounding, Adam moves by whole steps.
    np.testing.assert_allclose(compiled_losses, losses, rtol=0, atol=1e-5)


def test_what_xla_cannot_compile_is_named(reviews, monkeypatch):
    model = classifier()
    loss = model.compute_loss

    def with_strings(*args, **given):
        found = loss(*args, **given)
        return found + 0.0 * tf.strings.to_number(tf.strings.as_string(found))

    monkeypatch.setattr(model, "compute_loss", with_strings)
    with pytest.raises(ConfigError, match="operators that XLA can compile.*AsString.*Use jit_compile='off'"):
        fine_tune(model, reviews, epochs=1, jit_compile="on", progress=False)


@pytest.mark.parametrize("settings", [{"batch_tokens": 40}, {"max_tokens": 40}])
def test_batches_of_many_shapes_are_refused(settings):
    with pytest.raises(ConfigError, match=f"jit_compile='off' or 'auto' with {next(iter(settings))}"):
        choose_jit(FineTuneConfig(jit_compile="on", **settings), classifier())
    assert not choose_jit(FineTuneConfig(jit_compile="auto", **settings), classifier())


def test_a_masked_lm_is_refused():
    model = MaskedLM.from_preset("micro_bert", max_length=32)
    with pytest.raises(ConfigError, match="MaskedLM, whose batches"):
        choose_jit(FineTuneConfig(jit_compile="on"), model)
    assert not choose_jit(FineTuneConfig(jit_compile="auto"), model)


@pytest.mark.parametrize("gpus, compiled", [([], False), (["a GPU"], True)])
def test_auto_is_for_gpus(monkeypatch, gpus, compiled):
    model = classifier()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus if kind == "GPU" else [])
    assert choose_jit(FineTuneConfig(jit_compile="auto"), model) is compiled
    assert not choose_jit(FineTuneConfig(), model)


def test_an_unknown_word_is_refused():
    with pytest.raises(ConfigError, match="jit_compile as one of its choices"):
        FineTuneConfig(jit_compile="yes")
