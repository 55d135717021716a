import os
import signal

import keras
import optuna
import pandas as pd
import pytest

from tfllm.cli.searches import search_spaces
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, Preempted, ResumeMismatch, TrainingError, UnknownSetting
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
    cut = optuna.load_study(study_name="tune", storage=f"sqlite:///{tmp_path / 'study.db'}").trials[2].params
    result = search(reviews, tmp_path, 3)
    assert [row["state"] for row in result.trials].count("complete") == len(result.trials) == 3
    assert {name: result.trials[2][name] for name in cut} == cut
    assert len({row["learning_rate"] for row in result.trials}) == 3
    best = max(result.trials, key=lambda row: row["val_accuracy"])
    assert result.value == best["val_accuracy"] and result.monitor == "val_accuracy"
    assert result.best["epochs"] == 2 and result.best["learning_rate"] == best["learning_rate"]
    assert search(reviews, tmp_path, 3, lambda: make_model()) == result  # nothing is left to do


def terminated():
    """Make a model whose first training step gets SIGTERM."""
    model = make_model()
    weigh = model.loss_weight

    def weigh_and_terminate(*arguments):  # runs when the step is traced
        os.kill(os.getpid(), signal.SIGTERM)
        return weigh(*arguments)

    model.loss_weight = weigh_and_terminate
    return model


@pytest.mark.slow
def test_a_trial_that_was_preempted_goes_on_where_it_was(reviews, tmp_path):
    makers = iter([make_model, make_model, terminated])  # one says what is monitored
    with pytest.raises(Preempted):
        search(reviews, tmp_path, 3, lambda: next(makers)())
    cut = optuna.load_study(study_name="tune", storage=f"sqlite:///{tmp_path / 'study.db'}").trials[1]
    (state,) = tmp_path.glob("*/state-0-1.npz")
    result = search(reviews, tmp_path, 3)
    assert [row["state"] for row in result.trials] == ["complete"] * 3
    assert {name: result.trials[1][name] for name in cut.params} == cut.params
    assert len((state.parent / "history.jsonl").read_text().splitlines()) == 2
    assert len(list(tmp_path.glob("*/run.json"))) == 3


@pytest.mark.slow
def test_the_earlier_epochs_of_a_trial_that_was_cut_count(reviews, tmp_path, monkeypatch):
    class CutAtTheSecondEpoch(tuning._Report):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tuning, "_Report", CutAtTheSecondEpoch)
        search(reviews, tmp_path, 1)
    search(reviews, tmp_path, 1)
    study = optuna.load_study(study_name="tune", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [sorted(trial.intermediate_values) for trial in study.trials] == [[0], [0, 1]]


@pytest.mark.slow
def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(reviews, tmp_path):
    def diverging(trials, **spaces):
        return tune(
            make_model, reviews, validation_data=reviews, run_dir=tmp_path / str(len(spaces)), trials=trials, epochs=2,
            batch_size=4, search={"learning_rate": [1e-3, 1e30], **spaces},
        )  # fmt: skip

    result = diverging(5)
    assert {(row["learning_rate"], row["state"]) for row in result.trials} == {(1e-3, "complete"), (1e30, "failed")}
    assert [row["val_accuracy"] for row in result.trials if row["state"] == "failed"][0] is None
    assert result.best["learning_rate"] == 1e-3 and len(result.trials) == 5
    assert diverging(5) == result  # those that failed do not come again
    with pytest.raises(TrainingError, match="Received: 2 that failed, the first with: Expected a finite loss"):
        diverging(2, learning_rate=[1e30], seed=[0])


@pytest.mark.slow
def test_another_search_in_the_same_folder_is_refused(reviews, tmp_path):
    given = {"validation_data": reviews, "run_dir": tmp_path, "trials": 1, "epochs": 1}
    given["search"] = {"batch_size": [8, 16]}
    first = tune(make_model, reviews, **given)
    fewer = TextDataset(pd.DataFrame({"text": ["good", "bad"], "label": ["good", "bad"]}))
    for train, changed, words in (
        (fewer, {}, "Changed: train_data: was "),
        (reviews, {"validation_data": fewer}, "Changed: validation_data: was "),
        (reviews, {"epochs": 2}, "Changed: epochs: was 1, now 2"),
        (reviews, {"search": {"batch_size": (8, 16)}}, "search batch_size: was .8, 16., now .8..16"),
        (reviews, {"search": {"seed": [1]}}, "batch_size: was null, now 32; search batch_size"),
    ):
        with pytest.raises(ResumeMismatch, match=words):
            tune(make_model, train, **{**given, **changed})
    with pytest.raises(ResumeMismatch, match="Changed: head"):
        tune(lambda: TextClassifier.from_preset("micro_bert", labels=["bad", "good"]), reviews, **given)
    more = tune(make_model, reviews, **{**given, "trials": 2, "keep_checkpoints": 1})
    assert more.trials[0] == first.trials[0] and len(more.trials) == 2


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


def test_a_search_without_trials(reviews, tmp_path):
    with pytest.raises(ConfigError, match="trials=0"):
        tune(make_model, reviews, validation_data=reviews, search={"batch_size": [8]}, run_dir=tmp_path, trials=0)


@pytest.mark.parametrize("text", ["learning_rate", "=3", "learning_rate=1e-5..", "batch_size="])
def test_searches_that_say_nothing(text):
    with pytest.raises(ConfigError, match="batch_size=16,32"):
        search_spaces([text])
