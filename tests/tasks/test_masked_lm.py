import keras
import numpy as np
import pytest
import tensorflow as tf
from contract import check_task
from families import FAMILIES, micro_encoder

from tfllm.client.client import Client
from tfllm.data.cleaning import TextCleaner
from tfllm.data.vocabulary import train_vocabulary
from tfllm.errors import ConfigError, DataError
from tfllm.exporting.saved_model import export
from tfllm.server.server import serve
from tfllm.tasks.loading import make_preprocessor
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.tasks.text_embedder import TextEmbedder
from tfllm.training.fine_tuning import fine_tune

TEXTS = ["the [MASK] was good", "a [MASK], [MASK] film", "no mask", "[MASK]"]


def model_of(family, **settings):
    encoder = micro_encoder(family)
    return MaskedLM(encoder.backbone, make_preprocessor(encoder, 32, None), **settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_mask_has_its_candidates(family):
    model = model_of(family, top_k=3)
    found = model.predict_text(TEXTS)
    assert [len(masks) for masks in found] == [1, 2, 0, 1]
    for masks in found:
        for mask in masks:
            assert len(mask.tokens) == 3 and all(mask.tokens)
            assert sorted(mask.scores, reverse=True) == list(mask.scores)
    tokenizer = model.preprocessor.tokenizer
    own = str(tokenizer.id_to_token(tokenizer.mask_token_id))
    assert model.predict_text(TEXTS[0].replace("[MASK]", own)) == model.predict_text(TEXTS[0])
    ids = model.preprocess(tf.constant(["the [MASK] film"]))["token_ids"].numpy()[0]
    assert (ids == tokenizer.mask_token_id).sum() == 1


def test_the_answers_are_those_of_the_head():
    model = model_of("bert", top_k=4)
    tokens = model.preprocess(tf.constant(["the [MASK] was good"]))
    logits = keras.ops.convert_to_numpy(model(tokens))[0, 0]
    scores = np.exp(logits - logits.max())
    scores /= scores.sum()
    mask = model.predict_text("the [MASK] was good")[0]
    vocabulary = model.preprocessor.tokenizer.get_vocabulary()
    best = np.argsort(-scores)[:4]
    assert mask.tokens == tuple(vocabulary[index] for index in best)
    np.testing.assert_allclose(mask.scores, scores[best], atol=1e-6)


def test_the_embeddings_are_tied():
    model = model_of("bert")
    table = model.backbone.token_embedding.embeddings
    tables = [variable for variable in model.trainable_variables if tuple(variable.shape) == tuple(table.shape)]
    assert len(tables) == 1
    before = model.predict_text(TEXTS[0])[0].scores
    table.assign(table * 2)
    model.forget_traces()
    assert model.predict_text(TEXTS[0])[0].scores != before


@pytest.mark.slow
def test_it_learns_the_texts(reviews):
    keras.utils.set_random_seed(0)
    model = MaskedLM.from_preset("micro_bert", mask_rate=0.3)
    history = fine_tune(model, reviews, epochs=30, batch_size=8, learning_rate=2e-2, progress=False)
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"] - 1.0


@pytest.mark.slow
def test_contract(tmp_path, reviews):
    keras.utils.set_random_seed(0)
    check_task(MaskedLM.from_preset("micro_bert", top_k=3), reviews, tmp_path)


def test_a_client_fills_masks(tmp_path):
    model = model_of("bert", top_k=2)
    export(model, tmp_path / "words", samples=TEXTS)
    with serve(tmp_path, port=0) as server, Client(server.address, model="words") as client:
        found = client.fill_mask(TEXTS)
    expected = model.predict_text(TEXTS)
    assert [[mask.tokens for mask in masks] for masks in found] == [[m.tokens for m in masks] for masks in expected]
    flat = [[score for masks in rows for mask in masks for score in mask.scores] for rows in (found, expected)]
    np.testing.assert_allclose(*flat, atol=1e-6)


def test_what_was_pre_trained_begins_other_tasks(tmp_path):
    cleaner = TextCleaner(control_characters=False)
    model = MaskedLM.from_preset("micro_bert", max_length=24, cleaner=cleaner)
    model.save_to_preset(tmp_path)
    for other in (TextClassifier.from_preset(tmp_path, labels=["bad", "good"]), TextEmbedder.from_preset(tmp_path)):
        assert other.preprocessor.max_length == 24
        assert other.preprocessor.cleaner.get_config() == cleaner.get_config()
        for theirs, ours in zip(other.backbone.weights, model.backbone.weights, strict=True):
            np.testing.assert_array_equal(theirs.numpy(), ours.numpy())
    fresh = TextClassifier.from_preset(tmp_path, labels=["bad", "good"], load_weights=False)
    assert np.abs(fresh.backbone.weights[0].numpy() - model.backbone.weights[0].numpy()).max() > 0


@pytest.mark.parametrize("family", ["bert", "distil_bert", "electra"])
def test_from_scratch(tmp_path, family):
    train_vocabulary(["a good film", "a bad film"], tmp_path / "vocab.txt", vocabulary_size=180)
    sizes = {"layers": 1, "width": 8, "heads": 2, "max_length": 16}
    model = MaskedLM.from_scratch(tmp_path / "vocab.txt", family=family, **sizes)
    assert model.backbone.num_layers == 1
    assert model.preprocessor.max_length == 16
    assert len(model.predict_text("a [MASK] film")[0].tokens) == 5


def test_what_does_not_fit():
    vocabulary = train_vocabulary(["a good film"], vocabulary_size=180)
    with pytest.raises(ConfigError, match="family='robert'"):
        MaskedLM.from_scratch(vocabulary, family="robert")
    with pytest.raises(ConfigError, match="heads"):
        MaskedLM.from_scratch(vocabulary, width=10, heads=4)
    with pytest.raises(ConfigError, match="top_k=0"):
        model_of("bert", top_k=0)
    with pytest.raises(ConfigError, match="mask_rate"):
        model_of("bert", mask_rate=0.0)
    with pytest.raises(DataError, match="pairs"):
        model_of("bert").predict_text([("a", "b")])
