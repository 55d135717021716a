import keras
import numpy as np
import pandas as pd
import pytest
from contract import check_task

from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, DataError
from tfllm.evaluation.judging import evaluate
from tfllm.results import Regression
from tfllm.tasks.text_regressor import TextRegressor
from tfllm.training.fine_tuning import fine_tune


@pytest.fixture
def stars(reviews):
    numbers = [50.0 if label == "good" else 10.0 for label in reviews.label_values]
    return TextDataset(reviews.frame.assign(stars=numbers), label="stars", label_kind="value")


def make_model(data, **settings):
    keras.utils.set_random_seed(0)
    return TextRegressor.from_preset("micro_bert", **TextRegressor.head_of(data), **settings)


def test_numbers_are_scaled_inside_and_answered_in_their_own_units(stars):
    model = make_model(stars, pooling="mean")
    assert model.value_range == (10.0, 50.0)
    assert set(model.encode_labels(stars).tolist()) == {0.0, 1.0}
    fine_tune(model, stars, epochs=30, batch_size=4, learning_rate=2e-2, progress=False)
    report = evaluate(model.predict_text, stars)
    assert isinstance(model.predict_text("good"), Regression)
    assert report.metrics["pearson"] > 0.8
    assert report.metrics["mean_absolute_error"] < 12


def test_numbers_outside_of_the_range_are_neither_cut_nor_refused(stars):
    model = TextRegressor.from_preset("micro_bert", value_range=(10, 30))
    assert model.encode_labels(stars).max() == 2.0
    np.testing.assert_allclose(model.postprocess(np.array([[-0.5], [1.5]]))["value"], [0.0, 40.0])


@pytest.mark.parametrize("value_range", [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_an_empty_range(value_range):
    with pytest.raises(ConfigError, match="value_range"):
        TextRegressor.from_preset("micro_bert", value_range=value_range)


def test_labels_of_another_kind(reviews, stars):
    with pytest.raises(DataError, match="label_kind='value'"):
        make_model(stars).encode_labels(reviews)


@pytest.mark.slow
def test_the_contract_for_texts(tmp_path, stars):
    check_task(make_model(stars), stars, tmp_path, tolerance=1e-3)  # of numbers up to 50


@pytest.mark.slow
def test_the_contract_for_pairs(tmp_path):
    frame = pd.DataFrame({"a": ["good film", "bad", "fine"] * 4, "b": ["film", "food", "fine"] * 4})
    data = TextDataset(
        frame.assign(score=[0.5, 0.0, 1.0] * 4), text="a", text_pair="b", label="score", label_kind="value"
    )
    check_task(make_model(data, pooling="mean"), data, tmp_path)
