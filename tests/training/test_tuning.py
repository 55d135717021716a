import keras
import pytest

from tfllm.cli.searches import search_spaces
from tfllm.errors import ConfigError, UnknownSetting
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training import tuning
from tfllm.training.tuning import tune


def make_model():
    return TextClassifier.from_preset("micro_bert", labels=["bad", "good"], pooling="mean")


def search(reviews, folder, trials, make_model=make_model):
    return tune(
        make_model, reviews, validation_data=reviews, run_dir=folder, trials=trials, epochs=2, batch_size=8,
        search={"learning_rate": (1e-5, 1e-1), "schedule": ["linear", "constant"]},
    )  # fmt: skip


@pytest.mark.slow
def test_a_search_goes_on_after_it_was_cut(reviews, tmp_path):
    calls = []

    def cut_at_the_third():
        calls.append(1)
        if len(calls) == 4:  # one model says what is monitored, then one for each trial
            raise KeyboardInterrupt
        return make_model()

    with pytest.raises(KeyboardInterrupt):
        search(reviews, tmp_path, 3, cut_at_the_third)
    result = search(reviews, tmp_path, 3)
    assert [row["state"] for row in result.trials].count("complete") == len(result.trials) == 3
    assert len({row["learning_rate"] for row in result.trials}) == 3
    best = max(result.trials, key=lambda row: row["val_accuracy"])
    assert result.value == best["val_accuracy"] and result.monitor == "val_accuracy"
    assert result.best["epochs"] == 2 and result.best["learning_rate"] == best["learning_rate"]
    assert search(reviews, tmp_path, 3, lambda: make_model()) == result  # nothing is left to do


@pytest.mark.slow
def test_the_best_settings_give_the_value_again(reviews, tmp_path):
    result = search(reviews, tmp_path, 2)
    keras.utils.set_random_seed(0)
    history = tuning.fine_tune(make_model(), reviews, validation_data=reviews, progress=False, **result.best)
    assert max(row["val_accuracy"] for row in history.epochs) == pytest.approx(result.value)


@pytest.mark.parametrize(
    "spaces, error, words",
    [
        ({}, ConfigError, "settings to search"),
        ({"epochs": [1, 2]}, ConfigError, "epochs"),
        ({"learning_rat": (1e-5, 1e-4)}, UnknownSetting, "learning_rate"),
        ({"learning_rate": 1e-5}, ConfigError, "list of choices"),
        ({"batch_size": ["many"]}, ConfigError, "batch_size"),
    ],
)
def test_wrong_searches(reviews, tmp_path, spaces, error, words):
    with pytest.raises(error, match=words):
        tune(make_model, reviews, validation_data=reviews, search=spaces, run_dir=tmp_path, epochs=1)


@pytest.mark.parametrize("text", ["learning_rate", "=3", "learning_rate=1e-5..", "batch_size="])
def test_searches_that_say_nothing(text):
    with pytest.raises(ConfigError, match="batch_size=16,32"):
        search_spaces([text])
