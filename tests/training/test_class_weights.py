import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tfllm.cli.training import train
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, ResumeMismatch, UnknownLabel
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.class_weights import row_weights
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.settings import plain_class_weight

TARGETS = np.array([0, 0, 0, 1], np.int32)


@pytest.mark.parametrize(
    "class_weight, expected",
    [
        ("balanced", [2 / 3, 2 / 3, 2 / 3, 2]),
        ({"good": 3}, [1, 1, 1, 3]),
        ({"good": 0.5, "bad": 0}, [0, 0, 0, 0.5]),
    ],
)
def test_rows_count_by_their_label(micro_model, class_weight, expected):
    np.testing.assert_allclose(row_weights(micro_model, TARGETS, class_weight), expected)


def test_without_weights_all_rows_count_the_same(micro_model):
    assert row_weights(micro_model, TARGETS, None) is None


def test_a_label_that_the_model_does_not_know(micro_model):
    with pytest.raises(UnknownLabel, match="class_weight.*great"):
        row_weights(micro_model, TARGETS, {"great": 2.0})


@pytest.mark.parametrize("wrong", ["even", {"good": -1.0}, {"good": float("nan")}, {"good": "2"}, {"good": True}])
def test_what_is_no_weight(wrong):
    with pytest.raises(ConfigError, match="class_weight"):
        plain_class_weight(wrong)


def test_labels_and_weights_of_numpy_become_plain_data():
    found = plain_class_weight({np.int64(1): np.float32(0.5), 2.0: 3})
    assert found == {"1": 0.5, "2": 3.0} and json.dumps(found)


def test_a_task_without_labels(reviews):
    model = MaskedLM.from_preset("micro_bert")
    for class_weight in ("balanced", {"good": 2.0}):
        with pytest.raises(ConfigError, match="MaskedLM"):
            fine_tune(model, reviews, class_weight=class_weight, progress=False)


def test_a_run_with_other_weights_is_another_run(tmp_path, reviews, micro_model):
    settings = {"epochs": 1, "progress": False, "run_dir": tmp_path}
    fine_tune(micro_model, reviews, class_weight={"good": 2}, **settings)
    fine_tune(micro_model, reviews, class_weight={"good": 2.0}, **settings)  # the same run, which has ended
    with pytest.raises(ResumeMismatch, match="class_weight"):
        fine_tune(micro_model, reviews, class_weight="balanced", **settings)


def test_rows_with_several_labels():
    data = TextDataset(pd.DataFrame({"text": ["x", "y"], "label": [["a"], ["a", "b"]]}), label_kind="labels")
    model = TextClassifier.from_preset("micro_bert", labels=["a", "b"], multi_label=True)
    with pytest.raises(ConfigError, match="one label a row"):
        fine_tune(model, data, class_weight="balanced", progress=False)


def test_rows_that_count_nothing_teach_nothing(reviews, micro_model):
    fine_tune(micro_model, reviews, epochs=4, learning_rate=1e-1, class_weight={"good": 0}, progress=False)
    assert {result.label for result in micro_model.predict_text(reviews.texts)} == {"bad"}


@pytest.fixture
def command(tmp_path, reviews):
    """Return the options of `tfllm train` for a small run."""
    file = tmp_path / "reviews.csv"
    reviews.frame.to_csv(file, index=False)
    return [str(file), "--preset", "micro_bert", "--run-dir", str(tmp_path / "run"), "--epochs", "1"]


@pytest.mark.parametrize("source", ["option", "file"])
def test_the_command_line_takes_weights_by_label(tmp_path, command, source):
    settings = tmp_path / "settings.toml"
    settings.write_text("[class_weight]\nbad = 1\ngood = 3\n")
    given = ["--class-weight", "bad=1,good=3"] if source == "option" else ["--config", str(settings)]
    result = CliRunner().invoke(train, [*command, *given], catch_exceptions=False)
    assert result.exit_code == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert run["class_weight"] == {"bad": 1.0, "good": 3.0}


def test_what_the_command_line_refuses(tmp_path, command):
    wrong = CliRunner().invoke(train, [*command, "--class-weight", "good=three"])
    assert wrong.exit_code == 2 and "name=number" in wrong.output
    unknown = CliRunner().invoke(train, [*command, "--class-weight", "great=3,bad=1"])
    assert isinstance(unknown.exception, UnknownLabel) and "great" in str(unknown.exception)
    settings = tmp_path / "settings.toml"
    settings.write_text("class_weight = 3\n")
    number = CliRunner().invoke(train, [*command, "--config", str(settings)])
    assert isinstance(number.exception, ConfigError) and "class_weight" in str(number.exception)
