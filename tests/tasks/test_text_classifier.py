import json

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from contract import check_task

from tfllm.data.cleaning import TextCleaner
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, CorruptWeights, DataError, PresetNotFound, UnknownLabel
from tfllm.evaluation.judging import evaluate
from tfllm.results import Classification
from tfllm.tasks.losses import ClassificationLoss
from tfllm.tasks.registry import load_task
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.fine_tuning import fine_tune


def test_is_a_keras_hub_task_with_a_backbone(micro_model):
    assert isinstance(micro_model, keras_hub.models.Task)
    assert micro_model.backbone.hidden_dim == 8
    assert micro_model.output.shape == (None, 2)


def test_fit_predict_evaluate_take_strings(micro_model, reviews):
    texts, targets = reviews.texts, micro_model.encode_labels(reviews)
    micro_model.fit(texts, targets, batch_size=4, epochs=1, verbose=0)
    micro_model.fit(tf.data.Dataset.from_tensor_slices((texts, targets)).batch(4), verbose=0)
    loss, accuracy = micro_model.evaluate(texts, targets, verbose=0)
    assert np.isfinite(loss) and 0 <= accuracy <= 1
    assert micro_model.predict(texts, verbose=0).shape == (16, 2)


@pytest.mark.slow
def test_fit_takes_pairs(micro_model):
    micro_model.fit((["good", "bad"], ["film", "food"]), np.array([0, 1]), verbose=0)


def test_predict_text_keeps_the_order_and_sums_to_one(micro_model):
    texts = ["good " * n for n in (9, 1, 30, 2, 0, 5)]
    together = micro_model.predict_text(texts, batch_size=2)
    alone = [micro_model.predict_text(text) for text in texts]
    assert all(isinstance(result, Classification) for result in together)
    np.testing.assert_allclose([r.scores for r in together], [r.scores for r in alone], atol=1e-6)
    np.testing.assert_allclose(np.sum([r.scores for r in together], axis=1), 1.0, atol=1e-6)
    assert all(r.score == max(r.scores) and r.label == micro_model.labels.names[np.argmax(r.scores)] for r in together)


def test_predict_text_of_pairs_and_of_nothing(micro_model):
    assert len(micro_model.predict_text(("good", "film"))) == 2  # two texts; a pair stands in a list
    assert isinstance(micro_model.predict_text([("good", "film"), ("bad", "food")])[1], Classification)
    assert micro_model.predict_text([]) == []


@pytest.mark.parametrize("texts", [[1], [None], ["a", ("b", "c")], [("a", "b", "c")], [3.5, "x"]])
def test_what_is_no_text_is_refused(micro_model, texts):
    with pytest.raises(DataError, match="Received"):
        micro_model.predict_text(texts)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_save_and_load(tmp_path, reviews, pooling):
    cleaner = TextCleaner(html_tags=True, max_repeats=2)
    model = TextClassifier.from_preset(
        "micro_bert", labels=[10, 2, 33], pooling=pooling, dropout=0.3, max_length=20, cleaner=cleaner
    )
    model.save_to_preset(tmp_path / "model")
    loaded = TextClassifier.from_preset(tmp_path / "model")
    assert loaded.labels.names == ("10", "2", "33")
    assert (loaded.pooling, loaded.dropout, loaded.preprocessor.max_length) == (pooling, 0.3, 20)
    assert loaded.preprocessor.cleaner == cleaner
    np.testing.assert_allclose(
        loaded.predict(reviews.texts, verbose=0), model.predict(reviews.texts, verbose=0), atol=1e-6
    )
    assert isinstance(keras_hub.models.Backbone.from_preset(str(tmp_path / "model")), keras_hub.models.BertBackbone)


def test_new_labels_keep_the_saved_backbone(tmp_path, micro_model):
    micro_model.save_to_preset(tmp_path / "model")
    other = TextClassifier.from_preset(tmp_path / "model", labels=["a", "b", "c"])
    np.testing.assert_array_equal(other.backbone.get_weights()[0], micro_model.backbone.get_weights()[0])
    assert len(other.labels) == 3


def test_a_folder_of_another_task_is_refused(tmp_path, micro_model):
    micro_model.save_to_preset(tmp_path)
    config = json.loads((tmp_path / "tfllm.json").read_text())
    (tmp_path / "tfllm.json").write_text(json.dumps({**config, "task": "Other"}))
    with pytest.raises(PresetNotFound, match="Other"):
        TextClassifier.from_preset(tmp_path)


def test_damaged_weights_are_refused(tmp_path, micro_model):
    micro_model.save_to_preset(tmp_path)
    (tmp_path / "task.weights.h5").write_bytes(b"no weights")
    with pytest.raises(CorruptWeights):
        TextClassifier.from_preset(tmp_path)


def test_mean_pooling_trains_no_pooler(reviews, recwarn):
    model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"], pooling="mean")
    assert not any("pooled_dense" in variable.path for variable in model.trainable_variables)
    model.fit(reviews.texts, model.encode_labels(reviews), verbose=0)
    assert not [warning for warning in recwarn if "Gradients do not exist" in str(warning.message)]


def test_mean_pooling_does_not_see_padding():
    model = TextClassifier.from_preset("micro_bert", labels=["a", "b"], pooling="mean")
    alone = model.predict_text(["good"])[0].scores
    beside = model.predict_text(["good", "good film " * 20])[0].scores
    np.testing.assert_allclose(alone, beside, atol=1e-6)


def test_unknown_pooling_and_label(micro_model, reviews):
    with pytest.raises(ConfigError, match="mean"):
        TextClassifier.from_preset("micro_bert", labels=["a", "b"], pooling="maen")
    other = TextClassifier.from_preset("micro_bert", labels=["good", "other"])
    with pytest.raises(UnknownLabel, match="bad"):
        other.encode_labels(reviews)


def test_a_saved_task_with_other_settings(tmp_path, micro_model):
    cleaner = TextCleaner(html_tags=True)
    model = TextClassifier.from_preset("micro_bert", labels=["a", "b"], cleaner=cleaner, max_length=20)
    model.pairs = True
    model.save_to_preset(tmp_path)
    same = TextClassifier.from_preset(tmp_path, labels=["a", "b"], dropout=0.3)
    np.testing.assert_allclose(same.predict(["x"], verbose=0), model.predict(["x"], verbose=0), atol=1e-6)
    other = TextClassifier.from_preset(tmp_path, labels=["x", "y", "z"])
    for loaded in (same, other):
        assert loaded.preprocessor.cleaner == cleaner and loaded.preprocessor.max_length == 20 and loaded.pairs


def test_a_damaged_task_file_is_refused(tmp_path, micro_model):
    micro_model.save_to_preset(tmp_path)
    (tmp_path / "tfllm.json").write_text("{")
    with pytest.raises(CorruptWeights, match=r"tfllm\.json"):
        TextClassifier.from_preset(tmp_path)


@pytest.mark.slow
def test_the_contract(tmp_path, micro_model, reviews):
    check_task(micro_model, reviews, tmp_path)


@pytest.mark.slow
def test_the_contract_for_pairs(tmp_path, micro_model, reviews):
    frame = reviews.frame.assign(other=reviews.frame["text"].iloc[::-1].to_numpy())
    check_task(micro_model, TextDataset(frame, text_pair="other"), tmp_path)


SEVERAL = TextDataset(
    pd.DataFrame(
        {
            "text": ["good film", "bad film", "the", "good film and bad food"] * 4,
            "label": [["good"], ["bad"], [], ["good", "bad"]] * 4,
        }
    ),
    label_kind="labels",
)


def make_multi_label(**settings):
    keras.utils.set_random_seed(0)
    return TextClassifier.from_preset("micro_bert", **TextClassifier.head_of(SEVERAL), pooling="mean", **settings)


def test_several_labels_are_learnt_and_their_thresholds_saved(tmp_path):
    model = make_multi_label(focal_gamma=1.0, label_smoothing=0.05)
    assert model.encode_labels(SEVERAL)[:4].tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]
    fine_tune(model, SEVERAL, epochs=20, batch_size=4, learning_rate=2e-2, progress=False)
    before = evaluate(model.predict_text, SEVERAL).metrics["micro_f1"]
    thresholds = model.tune_thresholds(SEVERAL)
    assert set(thresholds) == {"good", "bad"}
    assert evaluate(model.predict_text, SEVERAL).metrics["micro_f1"] >= max(before, 0.8)
    model.save_to_preset(tmp_path)
    loaded = TextClassifier.from_preset(tmp_path)
    assert loaded.thresholds == model.thresholds and loaded.multi_label
    assert loaded.predict_text(SEVERAL.texts) == model.predict_text(SEVERAL.texts)
    assert TextClassifier.from_preset(tmp_path, labels=["x", "y", "z"]).thresholds is None


@pytest.mark.parametrize("settings", [{"label_smoothing": 0.2}, {"focal_gamma": 2.0}])
@pytest.mark.parametrize("multi_label", [False, True])
def test_training_uses_the_loss_that_was_asked_for(reviews, settings, multi_label):
    model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"], multi_label=multi_label, **settings)
    model.get_layer("logits").kernel.assign(model.get_layer("logits").kernel * 100.0)  # so that it is sure of something
    texts = (SEVERAL if multi_label else reviews).texts
    targets = np.zeros_like(model.encode_labels(SEVERAL if multi_label else reviews))  # else smoothing may cancel out
    loss = model.evaluate(texts, targets, verbose=0)[0]
    logits = model.predict(texts, verbose=0)
    want, plain = (ClassificationLoss(multi_label=multi_label, **chosen)(targets, logits) for chosen in (settings, {}))
    assert loss == pytest.approx(float(want), abs=1e-5) and abs(float(want) - float(plain)) > 1e-3


def test_thresholds_take_effect_at_once():
    model = make_multi_label()
    assert model.predict_text("good").labels == tuple(
        name for name, score in zip(model.labels, model.predict_text("good").scores, strict=True) if score >= 0.5
    )
    model._decide_by([0.0, 1.1], None)
    assert model.predict_text("good").labels == ("bad",)


def test_a_text_out_of_scope(tmp_path, micro_model, reviews):
    fine_tune(micro_model, reviews, epochs=20, batch_size=4, learning_rate=5e-3, progress=False)
    frame = pd.concat([reviews.frame, pd.DataFrame({"text": ["the", "was", "film food", "a"], "label": "other"})])
    data = TextDataset(frame)
    threshold = micro_model.tune_out_of_scope(data, label="other")
    answers = micro_model.predict_text(data.texts)
    assert all((answer.label == "other") == (answer.score < threshold) for answer in answers)
    figures = evaluate(micro_model.predict_text, data, out_of_scope="other").metrics
    assert figures["in_scope_accuracy"] > 0.7 and figures["out_of_scope_auroc"] > 0.5
    micro_model.save_to_preset(tmp_path)
    assert load_task(tmp_path).out_of_scope == ("other", threshold)


def test_settings_that_contradict_each_other(micro_model, reviews):
    with pytest.raises(ConfigError, match="multi_label=True"):
        micro_model.tune_thresholds(SEVERAL)
    with pytest.raises(ConfigError, match="0 such rows"):
        micro_model.tune_out_of_scope(reviews, label="other")
    with pytest.raises(ConfigError, match="thresholds for 2 labels"):
        TextClassifier.from_preset("micro_bert", labels=["a", "b"], thresholds=[0.5, 0.5])
    with pytest.raises(ConfigError, match="no label"):
        TextClassifier.from_preset("micro_bert", labels=["a", "b"], out_of_scope=("a", 0.5))


def test_marked_entities_are_saved(tmp_path):
    model = TextClassifier.from_preset("micro_bert", labels=["a", "b"], marked_entities=True)
    texts = ["the <e1>film</e1> was <e2>good</e2>", "no marks"]
    model.save_to_preset(tmp_path)
    loaded = load_task(tmp_path)
    assert loaded.backbone.vocabulary_size == model.backbone.vocabulary_size
    np.testing.assert_allclose(loaded.predict(texts, verbose=0), model.predict(texts, verbose=0), atol=1e-6)


@pytest.mark.slow
def test_the_contract_for_several_labels(tmp_path):
    check_task(make_multi_label(thresholds=[0.45, 0.55]), SEVERAL, tmp_path)


@pytest.mark.slow
def test_the_contract_for_marked_entities(tmp_path, reviews):
    frame = reviews.frame.assign(text=[f"<e1>the</e1> <e2>{text}</e2>" for text in reviews.texts])
    model = TextClassifier.from_preset(
        "micro_bert", labels=["bad", "good"], marked_entities=True, out_of_scope=("?", 0.5)
    )
    check_task(model, TextDataset(frame), tmp_path)


def test_a_row_of_more_tokens_than_the_encoder_has_positions(micro_model):
    longest = micro_model.backbone.max_sequence_length
    tokens = micro_model.signatures()["tokens"]
    for width in (longest, longest + 1):
        rows = {name: tf.ones([2, width], tf.int32) for name in tokens.inputs}
        if width <= longest:
            assert tokens.function(**rows)["logits"].shape == (2, 2)
        else:
            with pytest.raises(tf.errors.InvalidArgumentError, match=f"at most {longest} tokens"):
                tokens.function(**rows)
