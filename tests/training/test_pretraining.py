import json
import os
import random
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tfllm.errors import ConfigError, EmptyDataset, ResumeMismatch, UnknownSetting
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.pretraining import pretrain
from tfllm.training.trainable import blocks_of

SCRIPT = Path(__file__).with_name("pretraining_runs.py")
KILLED = -9
TEXTS = ["the film was good and the food was great", "the food was bad and the film was awful"] * 20
QUICK = {"steps_per_epoch": 3, "batch_size": 4, "progress": False}


def micro(**settings):
    keras.utils.set_random_seed(0)
    return MaskedLM.from_preset("micro_bert", max_length=16, **settings)


def run(folder, *arguments, status=0):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(SCRIPT), str(folder), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == status, done.stderr[-3000:]
    return None if status else json.loads(done.stdout.splitlines()[-1])


def test_it_learns_what_the_corpus_says(tmp_path):
    model = micro(mask_rate=0.3)
    history = pretrain(
        model, TEXTS, validation_data=TEXTS[:4], run_dir=tmp_path, epochs=8, steps_per_epoch=25, batch_size=8,
        learning_rate=2e-2, progress=False,
    )  # fmt: skip
    assert history.epochs[-1]["val_loss"] < history.epochs[0]["val_loss"] < 5.0  # a guess among all 151 tokens
    assert history.epochs[-1]["val_loss"] < 2.5
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert list((tmp_path / "tensorboard" / "validation").iterdir())
    model.save_to_preset(tmp_path / "model")
    classifier = TextClassifier.from_preset(tmp_path / "model", labels=["bad", "good"])
    np.testing.assert_array_equal(classifier.backbone.weights[0].numpy(), model.backbone.weights[0].numpy())


def test_files_are_read_and_a_part_is_held_out(tmp_path):
    (tmp_path / "books").mkdir()
    for name in ("one.txt", "two.txt"):
        (tmp_path / "books" / name).write_text("\n\n".join(TEXTS))
    history = pretrain(
        micro(), str(tmp_path / "books"), run_dir=tmp_path / "run", epochs=2, validation_fraction=0.25, **QUICK
    )
    assert [set(row) >= {"loss", "val_loss", "accuracy", "val_accuracy"} for row in history.epochs] == [True, True]
    note = json.loads((tmp_path / "run" / "corpus" / "corpus.json").read_text())
    assert note["tokens"]["held_out"] / note["tokens"]["training"] == pytest.approx(1 / 3, rel=0.1)


def test_the_same_call_continues_and_another_one_is_refused(tmp_path):
    settings = {**QUICK, "run_dir": tmp_path, "epochs": 2}
    first = pretrain(micro(), TEXTS, **settings)
    again = pretrain(micro(), TEXTS, **settings)
    assert again == first
    for changed, message in (({"seed": 1}, "seed: was 0, now 1"), ({"batch_size": 5}, "batch_size")):
        with pytest.raises(ResumeMismatch, match=message):
            pretrain(micro(), TEXTS, **{**settings, **changed})
    with pytest.raises(ResumeMismatch, match="corpus"):
        pretrain(micro(), [*TEXTS, "one more"], **settings)
    with pytest.raises(ResumeMismatch, match="head"):
        pretrain(micro(mask_rate=0.2), TEXTS, **settings)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "lamb", "schedule": "cosine", "learning_rate": 0.05},
        {"precision": "mixed_bfloat16", "learning_rate": 2e-2},
    ],
    ids=["lamb", "bfloat16"],
)
def test_other_optimizers_and_half_precision_learn(options):
    kinds = set()

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kinds.add((type(self.model.optimizer).__name__, self.model.backbone.layers[-1].compute_dtype))

    history = pretrain(
        micro(mask_rate=0.3), TEXTS, epochs=2, steps_per_epoch=25, batch_size=8, progress=False, callbacks=[Note()],
        **options,
    )  # fmt: skip
    assert kinds == {("Lamb", "float32") if "optimizer" in options else ("AdamW", "bfloat16")}
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"] - 0.5


def test_recomputation_changes_no_number():
    losses, recomputed = [], []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            recomputed.append(all("call" in vars(block) for block in blocks_of(self.model.backbone)))

    for choice in (False, True):
        losses += [
            row["loss"]
            for row in pretrain(micro(), TEXTS, epochs=1, recompute=choice, callbacks=[Note()], **QUICK).epochs
        ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    assert recomputed == [False] * 3 + [True] * 3


def test_several_steps_a_call_change_no_number():
    ends, calls = [], []
    for steps in (1, 2):
        model = micro()
        note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: calls.append(batch))
        rows = pretrain(model, TEXTS, epochs=2, steps_per_execution=steps, callbacks=[note], **QUICK).epochs
        ends.append(([row["loss"] for row in rows], [variable.numpy() for variable in model.variables]))
    assert calls == [0, 1, 2] * 2 + [1, 2] * 2
    assert ends[0][0] == ends[1][0]
    for single, several in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_array_equal(single, several)


def test_a_run_stopped_in_the_validation_of_an_epoch_goes_on(tmp_path):
    settings = {**QUICK, "epochs": 2, "validation_data": TEXTS[:4], "checkpoint_steps": 1, "run_dir": tmp_path}

    class Stop(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(micro(), TEXTS, callbacks=[Stop()], **settings)
    assert (tmp_path / "state-0-3.npz").is_file()
    again = pretrain(micro(), TEXTS, **settings)
    whole = pretrain(micro(), TEXTS, **{**settings, "run_dir": None})
    assert [row["val_loss"] for row in again.epochs] == [row["val_loss"] for row in whole.epochs]


def test_what_does_not_fit():
    with pytest.raises(ConfigError, match="Expected optimizer as one of its choices.*lamb"):
        pretrain(micro(), TEXTS, optimizer="lambda")
    with pytest.raises(UnknownSetting, match="steps_per_epoch"):
        pretrain(micro(), TEXTS, step_per_epoch=1)
    with pytest.raises(ConfigError, match="Received: both"):
        pretrain(micro(), TEXTS, validation_data=TEXTS, validation_fraction=0.1)
    with pytest.raises(ConfigError, match="accumulate"):
        pretrain(micro(), TEXTS, batch_size=2, accumulate=3)
    with pytest.raises(ConfigError, match="Expected a MaskedLM. Received: TextClassifier"):
        pretrain(TextClassifier.from_preset("micro_bert", labels=["a", "b"]), TEXTS)
    with pytest.raises(EmptyDataset, match="14 tokens"):
        pretrain(micro(), ["too short"])
    with pytest.raises(ConfigError, match="validation_fraction"):
        pretrain(micro(), TEXTS, validation_fraction=1.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


@pytest.mark.slow
def test_killed_at_a_step_it_ends_bit_for_bit_the_same(tmp_path, whole):
    run(tmp_path, random.Random(1).randrange(6, 20), status=KILLED)
    assert run(tmp_path)["epochs"] == whole[1]["epochs"]
    np.testing.assert_array_equal(np.load(tmp_path / "weights.npy"), np.load(whole[0] / "weights.npy"))


@pytest.mark.parametrize("kind", ["next", "order"])
def test_a_sentence_head_learns_too(tmp_path, kind):
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.permutation(["good", "bad", "film", "food", "great"])) for _ in range(60)]
    model = micro(sentence_head=kind)
    history = pretrain(model, texts, validation_data=texts[:20], epochs=2, **QUICK)
    assert {"pairs_accuracy", "tokens_accuracy", "val_pairs_loss", "val_loss"} <= set(history.epochs[-1])
    assert all(np.isfinite(value) for value in history.epochs[-1].values())
    assert len(model.predict_text("the [MASK]")[0].tokens) == 5
    model.save_to_preset(tmp_path)
    loaded = MaskedLM.from_preset(tmp_path)
    assert loaded.sentence_head == kind
    assert loaded.predict_text("the [MASK]") == model.predict_text("the [MASK]")
    TextClassifier.from_preset(tmp_path, labels=["bad", "good"])


@pytest.mark.slow
def test_two_devices_learn_what_one_does():
    def on_devices(devices, accumulate):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        script = SCRIPT.with_name("replica_pretraining.py")
        command = [sys.executable, str(script), str(devices), str(accumulate)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    runs = [on_devices(1, 1), on_devices(2, 3)]
    outputs = [run.communicate(timeout=540) for run in runs]
    assert not any(run.returncode for run in runs), outputs
    one, two = (json.loads(output.splitlines()[-1]) for output, _ in outputs)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(two["weights"], one["weights"], rtol=0, atol=1e-5)
