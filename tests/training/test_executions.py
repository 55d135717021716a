"""Several steps in one call of a graph: the numbers of single steps, bit for bit."""

from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, NonFiniteLoss
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.executions import plan_executions
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.loop import plan_of
from tfllm.training.preparation import require_one_replica
from tfllm.training.settings import FineTuneConfig

WORDS = ["good", "bad", "film", "food", "the", "was", "great"]
SETTINGS = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-2, "progress": False}


@pytest.fixture(scope="module")
def data():
    """25 rows: seven steps of four, the last one of one row."""
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, size=generator.integers(1, 12))) for _ in range(25)]
    return TextDataset(pd.DataFrame({"text": texts, "label": ["good" if "good" in t else "bad" for t in texts]}))


class Note(keras.callbacks.Callback):
    """Notes the first and the last step of each call, and what the epoch's numbers were then; may stop at one."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.calls, self.logs, self.stop_after = [], [], stop_after

    def on_train_batch_begin(self, batch, logs=None):
        self.first = batch

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append((self.first, batch))
        self.logs.append({name: float(value) for name, value in logs.items()})
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt


def make_model():
    keras.utils.set_random_seed(0)
    return TextClassifier.from_preset("micro_bert", labels=["bad", "good"])


def trained(data, note=None, **settings):
    model, note = make_model(), note or Note()
    history = fine_tune(model, data, validation_data=data, callbacks=[note], **{**SETTINGS, **settings})
    weights = [variable.numpy() for variable in model.variables]
    rows = [{name: row[name] for name in ("loss", "accuracy", "val_loss", "learning_rate")} for row in history.epochs]
    return SimpleNamespace(weights=weights, rows=rows, calls=note.calls, logs=note.logs)


def assert_same_end(got, want):
    assert got.rows == want.rows
    for ours, theirs in zip(got.weights, want.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def single(data):
    return trained(data)


@pytest.mark.parametrize("steps, calls", [(3, [(0, 2), (3, 5), (6, 6)]), (100, [(0, 6)])], ids=["three", "a hundred"])
def test_the_numbers_are_those_of_single_steps(data, single, steps, calls):
    several = trained(data, steps_per_execution=steps)
    assert several.calls == calls * 2  # epochs
    assert_same_end(several, single)
    ends = [epoch * 7 + last for epoch in range(2) for _, last in calls]
    assert several.logs == [single.logs[end] for end in ends]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 30, "optimizer": "lamb", "ema": 0.8, "unfreeze": 1},
        {"batch_tokens": 40, "recompute": True, "class_weight": "balanced"},
        {"precision": "mixed_float16", "r_drop": 1.0, "optimizer": "adafactor"},
        {"lora_rank": 2, "freeze": None, "layer_decay": 0.7},
    ],
    ids=["lamb", "tokens", "float16", "lora"],
)
def test_with_other_settings_too(data, options):
    several = trained(data, steps_per_execution=3, **options)
    assert any(last > first for first, last in several.calls)
    assert_same_end(several, trained(data, **options))


def test_steps_of_several_passes_run_alone(data):
    split = trained(data, steps_per_execution=3, accumulate=2)
    assert split.calls == [(step, step) for step in range(7)] * 2


def test_a_loss_that_is_no_number_is_found_within_a_group(data):
    rows = data.frame.assign(text=data.frame["text"].where(data.frame.index != 11, "poor"))
    poor, messages = TextDataset(rows), []
    for steps in (1, 3):
        model = make_model()
        lengths = model.training_rows(poor).lengths
        plan = plan_of(lengths, FineTuneConfig(batch_size=4), 0)
        step = next(number for number, rows in enumerate(plan) if 11 in rows)
        assert step % 3  # not the first of a group
        table = model.backbone.get_layer("token_embedding").embeddings
        values = table.numpy()
        values[model.preprocess(["poor"])["token_ids"].numpy()[0, 1]] = np.nan
        table.assign(values)
        with pytest.raises(NonFiniteLoss, match=f"nan at step {step + 1} of epoch 1, .*rows .*11") as error:
            fine_tune(model, poor, steps_per_execution=steps, **SETTINGS)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_a_run_goes_on_with_another_number_of_steps_a_call(tmp_path, data, single):
    settings = {"run_dir": tmp_path, "checkpoint_steps": 5}
    with pytest.raises(KeyboardInterrupt):
        trained(data, Note(stop_after=3), steps_per_execution=3, **settings)
    assert [path.name for path in tmp_path.glob("state-*.npz")] == ["state-0-5.npz"]
    resumed = trained(data, steps_per_execution=2, **settings)
    assert resumed.calls == [(5, 6), (0, 1), (2, 3), (4, 4), (5, 6)]
    assert_same_end(resumed, single)


@pytest.mark.parametrize(
    "passes, most, options, groups",
    [
        ([], 3, {}, []),
        ([1, 1, 1], 1, {}, [(0, 1), (1, 2), (2, 3)]),
        ([2, 1, 1, 2, 2], 9, {}, [(0, 1), (1, 3), (3, 4), (4, 5)]),
        ([1] * 7, 4, {"ends_every": 3}, [(0, 3), (3, 6), (6, 7)]),
        ([1] * 5, 2, {"first_step": 2, "ends_every": 4}, [(2, 4), (4, 6), (6, 7)]),
    ],
)
def test_groups(passes, most, options, groups):
    assert [(group.start, group.stop) for group in plan_executions(passes, most, **options)] == groups


def test_no_step_a_call_is_refused(data):
    with pytest.raises(ConfigError, match="steps_per_execution of at least 1"):
        fine_tune(make_model(), data, steps_per_execution=0, progress=False)


def test_several_replicas_are_refused():
    model = SimpleNamespace(distribute_strategy=SimpleNamespace(num_replicas_in_sync=2))
    require_one_replica(model, FineTuneConfig())
    with pytest.raises(ConfigError, match="steps_per_execution=1 with several replicas or workers.*Received: 3 with 2"):
        require_one_replica(model, FineTuneConfig(steps_per_execution=3))
