"""Which weights learn: freezing, LoRA, layer-wise rates, averages; each through `fine_tune`."""

from itertools import pairwise

import keras
import numpy as np
import pytest

from tfllm.errors import ConfigError
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.trainable import blocks_of, depths, rate_factors


def make_model():
    keras.utils.set_random_seed(0)
    return TextClassifier.from_preset("micro_bert", labels=["bad", "good"])


def values(model):
    return {weight.path: np.array(weight) for weight in model.weights if "seed" not in weight.path}


def changed_by(reviews, **settings):
    """The paths of the weights that a short run changes, and the model."""
    model = make_model()
    before = values(model)
    fine_tune(model, reviews, epochs=1, batch_size=8, learning_rate=1e-2, warmup=0.0, progress=False, **settings)
    after = values(model)
    assert before.keys() == after.keys()
    return {path for path in before if not np.array_equal(before[path], after[path])}, model


def test_depths_rise_from_embeddings_to_the_head():
    model = make_model()
    found = dict(zip([weight.path for weight in model.trainable_variables], depths(model), strict=True))
    assert found["logits/kernel"] == 3 and found["pooled_dense/kernel"] == 3
    assert {depth for path, depth in found.items() if path.startswith("transformer_layer_0")} == {1}
    assert {depth for path, depth in found.items() if "embedding" in path} == {0}
    assert sorted(set(rate_factors(model, 0.5))) == [0.125, 0.25, 0.5, 1.0]


@pytest.mark.parametrize("freeze, frozen", [(0, ("embedding",)), (1, ("embedding", "transformer_layer_0"))])
def test_frozen_layers_stay_and_the_others_learn(reviews, freeze, frozen):
    changed, model = changed_by(reviews, freeze=freeze)
    assert changed and not [path for path in changed if any(name in path for name in frozen)]
    assert any(path.startswith(f"transformer_layer_{freeze}") for path in changed)
    assert all(weight.trainable for weight in model.trainable_variables) and len(blocks_of(model.backbone)) == 2
    assert any("embedding" in weight.path for weight in model.trainable_variables)  # as it was before


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "adafactor"])
def test_blocks_begin_to_learn_one_epoch_after_the_other(reviews, optimizer):
    seen = []

    class Note(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(values(self.model))

    model = make_model()
    fine_tune(
        model, reviews, epochs=4, batch_size=8, learning_rate=1e-2, schedule="constant", unfreeze=1,
        optimizer=optimizer, callbacks=[Note()], progress=False,
    )  # fmt: skip
    seen.append(values(model))
    parts = {"logits/": 0, "transformer_layer_1/": 1, "transformer_layer_0/": 2, "token_embedding/": 3}
    for part, first_epoch in parts.items():
        changed = [any(part in p and not np.array_equal(old[p], new[p]) for p in old) for old, new in pairwise(seen)]
        assert changed == [epoch >= first_epoch for epoch in range(4)], part


def test_lora_changes_queries_values_and_the_head_alone(reviews):
    changed, model = changed_by(reviews, lora_rank=2)
    assert {path.split("/")[-2] for path in changed} == {"query", "value", "logits"}
    assert not any("lora" in weight.path for weight in model.weights)
    fine_tune(model, reviews, epochs=1, lora_rank=2, progress=False)  # once more, from what was merged


def test_lora_answers_stay_the_same_when_it_is_merged_and_saved(reviews, tmp_path):
    _, model = changed_by(reviews, lora_rank=2)
    model.save_to_preset(tmp_path)
    again = TextClassifier.from_preset(tmp_path)
    want, got = (m.predict_text("good film").scores for m in (model, again))
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_lower_layers_learn_slower(reviews):
    distances = {}
    for decay in (1.0, 0.1):
        model = make_model()
        before = values(model)
        fine_tune(
            model, reviews, epochs=1, batch_size=16, learning_rate=1e-2, warmup=0.0, weight_decay=0.0,
            layer_decay=decay, progress=False,
        )  # fmt: skip
        distances[decay] = {path: np.abs(value - before[path]).max() for path, value in values(model).items()}
    for path, depth in {"logits/kernel": 3, "token_embedding/embeddings": 0}.items():
        full, slow = (next(d for name, d in distances[decay].items() if path in name) for decay in (1.0, 0.1))
        np.testing.assert_allclose(slow, full * 0.1 ** (3 - depth), rtol=1e-2)


def test_the_average_of_the_weights_is_judged_and_kept(reviews):
    settings = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-2, "progress": False, "schedule": "constant"}
    steps = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(values(self.model))

    model = make_model()
    history = fine_tune(model, reviews, validation_data=reviews, ema=0.75, callbacks=[Note()], **settings)
    for path, value in values(model).items():
        np.testing.assert_allclose(value, 0.75 * steps[0][path] + 0.25 * steps[1][path], atol=1e-6, err_msg=path)
    loss = model.evaluate(reviews.texts, model.encode_labels(reviews), verbose=0)[0]
    assert history.epochs[-1]["val_loss"] == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"freeze": 3}, "at most 2"),
        ({"freeze": 1, "lora_rank": 2}, "not with lora_rank"),
        ({"optimizer": "adam"}, "adamw"),
        ({"schedule": "cosin"}, "cosine"),
        ({"precision": "float16"}, "mixed_float16"),
        ({"layer_decay": 0.0}, "layer_decay"),
        ({"ema": 1.0}, "ema"),
    ],
)
def test_wrong_choices(reviews, settings, words):
    with pytest.raises(ConfigError, match=words):
        fine_tune(make_model(), reviews, progress=False, **settings)
