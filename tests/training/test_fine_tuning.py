import contextlib
import inspect
import io
import json
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, NonFiniteLoss, ResumeMismatch, UnknownLabel, UnknownSetting
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.settings import FineTuneConfig

GOOD = ("good film", "great food", "the film was fine", "good good food", "fine", "a great film", "great")
BAD = ("bad film", "awful food", "the film was poor", "bad bad food", "poor", "an awful film", "awful")


def make_model(seed=0, **head):
    keras.utils.set_random_seed(seed)
    return TextClassifier.from_preset("micro_bert", labels=["bad", "good"], **head)


def weights_of(model):
    return np.concatenate([np.array(weight).ravel() for weight in model.trainable_variables])


def test_it_learns(reviews):
    model = make_model(pooling="mean")
    history = fine_tune(model, reviews, epochs=15, batch_size=4, learning_rate=2e-2, progress=False)
    assert history.epochs[-1]["loss"] < 0.4 < history.epochs[0]["loss"]
    assert [result.label for result in model.predict_text(reviews.texts)] == reviews.label_values
    assert history.run_dir is None


@pytest.mark.slow
def test_same_seed_same_weights(reviews):
    runs = []
    for seed in (1, 1, 2):
        model = make_model()
        fine_tune(model, reviews, epochs=2, batch_size=4, learning_rate=1e-2, seed=seed, progress=False)
        runs.append(weights_of(model))
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-6)
    assert np.abs(runs[0] - runs[2]).max() > 1e-4


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short run with everything switched on: model, data, folder, history, what was printed."""
    data = TextDataset(
        pd.DataFrame([{"text": t, "label": "good"} for t in GOOD] + [{"text": t, "label": "bad"} for t in BAD])
    )
    model, folder, printed = make_model(), tmp_path_factory.mktemp("run"), io.StringIO()
    with contextlib.redirect_stderr(printed):
        history = fine_tune(model, data, validation_data=data, epochs=2, batch_size=5, run_dir=folder)
    return SimpleNamespace(model=model, data=data, folder=folder, history=history, printed=printed.getvalue())


def test_run_folder_holds_history_and_curves(finished):
    lines = [json.loads(line) for line in (finished.folder / "history.jsonl").read_text().splitlines()]
    assert lines == finished.history.epochs
    assert {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"} <= lines[0].keys()
    assert 0 <= lines[0]["padding"] < 0.5 and lines[0]["tokens_per_second"] > lines[0]["examples_per_second"]
    assert (finished.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in finished.folder.glob("state-2*")] == ["state-2-0.npz"]
    assert finished.history.run_dir == str(finished.folder)


def test_validation_figures_are_those_of_all_rows(finished):
    right = [r.label for r in finished.model.predict_text(finished.data.texts)] == np.array(finished.data.label_values)
    assert finished.history.epochs[-1]["val_accuracy"] == pytest.approx(right.mean())


def test_progress_prints_a_line_an_epoch(finished):
    lines = [line for line in finished.printed.splitlines() if line.startswith("Epoch")]
    assert len(lines) == 2 and lines[1].startswith("Epoch 2/2  ") and "val_accuracy" in lines[1]


def test_a_finished_run_is_loaded(finished):
    other = make_model(seed=5)
    again = fine_tune(
        other,
        finished.data,
        validation_data=finished.data,
        epochs=2,
        batch_size=5,
        run_dir=finished.folder,
        progress=False,
    )
    assert again == finished.history
    np.testing.assert_array_equal(weights_of(other), weights_of(finished.model))


def test_other_settings_in_the_same_folder_are_refused(finished):
    with pytest.raises(ResumeMismatch, match="learning_rate: was 5e-05, now 0.001"):
        fine_tune(make_model(), finished.data, epochs=2, learning_rate=1e-3, run_dir=finished.folder, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "lamb", "ema": 0.8, "layer_decay": 0.7, "freeze": 0, "restore_best": True},
        {"optimizer": "adafactor", "schedule": "cosine", "lora_rank": 2, "accumulate": 2},
        {"precision": "mixed_float16", "max_tokens": 20},
        {"batch_tokens": 40, "unfreeze": 2},
    ],
    ids=["plain", "lamb", "adafactor", "float16", "tokens"],
)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, reviews, options):
    settings = {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "progress": False, **options}
    whole = make_model()
    fine_tune(whole, reviews, validation_data=reviews, run_dir=tmp_path / "whole", **settings)

    class StopAfterTwo(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    interrupted = make_model()
    with pytest.raises(KeyboardInterrupt):
        fine_tune(
            interrupted,
            reviews,
            validation_data=reviews,
            run_dir=tmp_path / "part",
            callbacks=[StopAfterTwo()],
            **settings,
        )
    assert len((tmp_path / "part" / "history.jsonl").read_text().splitlines()) == 2

    resumed = make_model(seed=9)  # other weights: all that counts comes from the run folder
    history = fine_tune(resumed, reviews, validation_data=reviews, run_dir=tmp_path / "part", **settings)
    assert [row["epoch"] for row in history.epochs] == [1, 2, 3]
    np.testing.assert_allclose(weights_of(resumed), weights_of(whole), atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"batch_tokens": 40, "unfreeze": 1}], ids=["rows", "tokens"])
@pytest.mark.parametrize("moment", ["on_train_batch_end", "on_test_begin"])
def test_a_run_stopped_within_an_epoch_goes_on(tmp_path, reviews, settings, moment):
    settings = {"epochs": 2, "batch_size": 8, "progress": False, "checkpoint_steps": 1, **settings}

    def stop(*arguments, **logs):
        raise KeyboardInterrupt

    stopping = keras.callbacks.Callback()
    setattr(stopping, moment, stop)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(make_model(), reviews, validation_data=reviews, run_dir=tmp_path, callbacks=[stopping], **settings)
    assert list(tmp_path.glob("state-0-*.npz"))
    resumed, whole = make_model(seed=9), make_model()
    again = fine_tune(resumed, reviews, validation_data=reviews, run_dir=tmp_path, **settings)
    once = fine_tune(whole, reviews, validation_data=reviews, **settings)
    assert [row["val_loss"] for row in again.epochs] == [row["val_loss"] for row in once.epochs]
    np.testing.assert_array_equal(weights_of(resumed), weights_of(whole))


@pytest.mark.slow
def test_patience_stops_and_the_best_epoch_comes_back(tmp_path, reviews):
    model = make_model(pooling="mean")
    history = fine_tune(
        model,
        reviews,
        validation_data=reviews,
        epochs=40,
        batch_size=4,
        learning_rate=2e-2,
        patience=3,
        restore_best=True,
        run_dir=tmp_path,
        progress=False,
    )
    best = max(row["val_accuracy"] for row in history.epochs)
    assert len(history.epochs) < 40
    assert [row["val_accuracy"] for row in history.epochs].index(best) == len(history.epochs) - 4
    right = [result.label for result in model.predict_text(reviews.texts)] == np.array(reviews.label_values)
    assert right.mean() == pytest.approx(best)


@pytest.mark.slow
def test_balanced_classes_lift_the_rare_one():
    rows = [{"text": f"good {'film ' * (n % 3)}", "label": "good"} for n in range(30)] + [
        {"text": "good", "label": "bad"}
    ]
    data = TextDataset(pd.DataFrame(rows))
    scores = {}
    for weight in (None, "balanced"):
        model = make_model()
        fine_tune(model, data, epochs=6, batch_size=8, learning_rate=1e-2, class_weight=weight, progress=False)
        scores[weight] = model.predict_text("good").scores[0]
    assert scores["balanced"] > scores[None] + 0.1


@pytest.mark.slow
def test_pairs_and_a_last_batch_that_is_not_full(reviews):
    frame = reviews.frame.assign(other=reviews.frame["text"].iloc[::-1].to_numpy())
    data = TextDataset(frame, text_pair="other")
    model = make_model()
    history = fine_tune(model, data, validation_data=data, epochs=1, batch_size=5, progress=False)
    assert np.isfinite(history.epochs[0]["val_loss"]) and model.pairs


def test_a_loss_that_is_no_number_stops_the_run(reviews):
    model = make_model()
    model.get_layer("logits").kernel.assign(np.full((8, 2), np.nan, "float32"))
    with pytest.raises(NonFiniteLoss, match="step 1"):
        fine_tune(model, reviews, epochs=1, progress=False)


@pytest.mark.parametrize(
    "settings, error, words",
    [
        ({"epoch": 3}, UnknownSetting, "epochs"),
        ({"epochs": 0}, ConfigError, "epochs"),
        ({"epochs": "3"}, ConfigError, "int"),
        ({"batch_tokens": 0}, ConfigError, "batch_tokens"),
        ({"unfreeze": 0}, ConfigError, "unfreeze"),
        ({"class_weight": "even"}, ConfigError, "balanced"),
        ({"learning_rate": -1.0}, ConfigError, "learning_rate"),
        ({"learning_rate": float("nan")}, ConfigError, "learning_rate"),
        ({"clip_norm": -1.0}, ConfigError, "clip_norm"),
        ({"patience": 0}, ConfigError, "patience"),
        ({"patience": 2}, ConfigError, "validation_data"),
    ],
)
def test_wrong_settings(reviews, settings, error, words):
    with pytest.raises(error, match=words):
        fine_tune(make_model(), reviews, progress=False, **settings)


def test_a_validation_label_that_training_never_saw(reviews):
    other = TextDataset(pd.DataFrame({"text": ["good"], "label": ["excellent"]}))
    with pytest.raises(UnknownLabel, match="In the table, column 'label', row 0: .*excellent"):
        fine_tune(make_model(), reviews, validation_data=other, progress=False)


def test_notebooks_see_the_settings():
    parameters = inspect.signature(fine_tune).parameters
    assert parameters["epochs"].default == FineTuneConfig().epochs
    assert "settings" not in parameters
