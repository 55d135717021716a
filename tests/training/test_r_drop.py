"""Two passes over a row with other dropout, whose classes must agree."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.tasks.text_regressor import TextRegressor
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.steps import Steps

LABELS = np.array([0, 1, 1], np.int32)


def make_model(**head):
    keras.utils.set_random_seed(0)
    return TextClassifier.from_preset("micro_bert", labels=["bad", "good"], **head)


def test_the_loss_is_that_of_both_passes_and_their_disagreement():
    model, same = make_model(dropout=0.5), make_model(dropout=0.5)
    tokens = model.preprocess(tf.constant(["a bad film", "good food", "the good film"]))
    first, second = (same(tokens, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    want = (same.loss(LABELS, first) + same.loss(LABELS, second) + 4.0 * same.disagreement(first, second)) / 2
    steps = Steps(model, 4.0)
    steps.train(iter([((tokens, tf.constant(LABELS)), tf.constant(3))]), 1)
    assert float(steps.step_losses) == pytest.approx(float(want), rel=1e-5)


def test_it_learns(reviews):
    settings = {"epochs": 12, "batch_size": 4, "learning_rate": 2e-2, "progress": False}
    history = fine_tune(make_model(pooling="mean"), reviews, r_drop=1.0, **settings)
    assert history.epochs[-1]["loss"] < 0.5 < history.epochs[0]["loss"]


def test_a_task_without_classes(reviews):
    with pytest.raises(ConfigError, match="r_drop with a task that answers with classes. Received: TextRegressor"):
        fine_tune(TextRegressor.from_preset("micro_bert"), reviews, r_drop=1.0, progress=False)
