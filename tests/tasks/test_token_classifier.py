import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from contract import check_task
from families import FAMILIES, micro_encoder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfllm.client.client import Client
from tfllm.data.cleaning import TextCleaner
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, UnknownLabel
from tfllm.evaluation.judging import evaluate
from tfllm.exporting.saved_model import export
from tfllm.results import Entities
from tfllm.server.server import serve
from tfllm.tasks.loading import make_preprocessor
from tfllm.tasks.token_classifier import TokenClassifier
from tfllm.training.fine_tuning import fine_tune

ROWS = [
    ("the film was in Paris.", [(16, 21, "city")]),
    ("Anna Lee: good film", [(0, 8, "person")]),
    ("bad food", []),
    ("in New York, Anna was fine", [(3, 11, "city"), (13, 17, "person")]),
]
ODD = "".join(
    [
        "ab C.é-'",
        "e\u0301\u0308",  # combining marks
        "😀👩\u200d👧🇩🇪",  # emoji of several code points
        "日本語テ",
        "שלוםمرحبا",
        " \t\n\r\u00a0\u2028\u3000",
        "\u200b\u0000\ufffd",
    ]
)
TEXTS = st.lists(st.one_of(st.text(st.sampled_from(ODD), max_size=40), st.text(max_size=15)), min_size=1, max_size=6)


@pytest.fixture
def places():
    frame = pd.DataFrame({"text": [text for text, _ in ROWS], "spans": [spans for _, spans in ROWS]})
    return TextDataset(frame, label="spans", label_kind="entities", source="the places")


def make(**settings):
    keras.utils.set_random_seed(0)
    return TokenClassifier.from_preset("micro_bert", **{"labels": ["city", "person"], "max_length": 12, **settings})


def eager(model):
    """Give it something to find: no word is outside of all entities."""
    dense = model.get_layer("logits")
    dense.kernel.assign(dense.kernel * 30)
    dense.bias.assign([-9.0] + [0.0] * (dense.units - 1))
    return model


@pytest.fixture(scope="module")
def finder():
    return eager(make())


def assert_exact(texts, results):
    for text, found in zip(texts, results, strict=True):
        assert isinstance(found, Entities) and found.text == text
        end = 0
        for entity in found:
            assert text[entity.start : entity.end] == entity.word
            assert end <= entity.start < entity.end <= len(text)
            assert entity.word.strip() and 0 < entity.score <= 1
            end = entity.end


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES[1:]])
def other_finder(request):
    encoder = micro_encoder(request.param)
    return eager(TokenClassifier(encoder.backbone, make_preprocessor(encoder, 12, None), labels=["city", "person"]))


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS)
def test_the_word_is_that_part_of_the_text(finder, texts):
    assert_exact(texts, finder.predict_text(texts))


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS)
@example(texts=["C", "\u200bC"])  # SentencePiece leaves out what this word begins with
def test_with_other_tokenizers_too(other_finder, texts):
    assert_exact(texts, other_finder.predict_text(texts))
    (found,) = other_finder.predict_text(["the film in Paris"])
    assert found


def test_odd_texts_have_entities_to_check(finder):
    texts = [ODD, "x" + ODD * 4 + "y", "😀 e\u0301\u0301 Ünï\tcode\r\n日本 שלום"]
    results = finder.predict_text(texts)
    assert_exact(texts, results)
    assert min(map(len, results)) >= 1
    assert any("e\u0301\u0301" in entity.word for entity in results[2])


@pytest.mark.slow
def test_exported_and_through_the_client_too(finder, tmp_path):
    export(finder, tmp_path / "places", samples=["in Paris"])
    with serve(tmp_path, port=0) as server, Client(server.address, model="places", timeout=300.0) as client:

        @settings(max_examples=40, deadline=None)
        @given(texts=TEXTS)
        def check(texts):
            assert_exact(texts, client.predict(texts))

        check()


def test_words_are_labelled_at_their_first_piece(places):
    model = make()
    tags = model.encode_labels(places).to_list()
    assert tags[0] == [0, 0, 0, 0, 1, 0]  # the film was in Paris .
    assert tags[1] == [3, 4, 0, 0, 0]  # Anna Lee : good film
    assert tags[3] == [0, 1, 2, 0, 3, 0, 0]
    tokens, targets, weights = model.preprocess_samples(tf.constant(places.texts[:1]), model.encode_labels(places)[:1])
    vocabulary = model.preprocessor.tokenizer.get_vocabulary()
    pieces = [vocabulary[token] for token in tokens["token_ids"][0]]
    counted = [piece for piece, weight in zip(pieces, weights[0], strict=True) if weight]
    assert counted == ["the", "film", "was", "i", "p"]  # "." is beyond the window
    assert targets[0].numpy().tolist()[pieces.index("p")] == 1


def test_words_by_spaces_keep_their_punctuation(places):
    model = make(words="spaces")
    assert model.encode_labels(places).to_list()[0] == [0, 0, 0, 0, 1]
    found = eager(model).predict_text("in Paris.")
    assert all(entity.word in ("in", "Paris.", "in Paris.") for entity in found)


def test_plain_tags_are_one_a_word():
    frame = pd.DataFrame({"text": ["the film ."], "tags": [[(0, 3, "DET"), (4, 8, "NOUN")]]})
    data = TextDataset(frame, label="tags", label_kind="entities")
    model = make(labels=["DET", "NOUN"], scheme="plain")
    assert model.words == "spaces"
    assert model.encode_labels(data).to_list() == [[0, 1, -1]]
    assert model.preprocess_samples(tf.constant(data.texts), model.encode_labels(data))[2].numpy().tolist() == [
        [0, 1, 1, 0, 0]
    ]
    assert [entity.word for entity in model.predict_text("the  good film")] == ["the", "good", "film"]


def test_long_texts_are_read_in_windows(places):
    model = eager(make())
    text = "good film " * 30
    rows = model.training_rows(TextDataset(pd.DataFrame({"text": [text], "label": [[]]}), label_kind="entities"))
    assert len(rows.columns[0]) == -(-(60 - 10) // 5) + 1 and rows.lengths.max() == 12
    found = model.predict_text(text)
    assert found[-1].end == len(text.rstrip())  # nothing is cut off
    lengths = [len(model.predict_text("good film " * times)) for times in (3, 30)]
    assert lengths[1] >= lengths[0]


def test_each_window_trains_its_own_words():
    model = make()
    text = " ".join(["good"] * 14) + " Anna"
    frame = pd.DataFrame({"text": [text], "label": [[(len(text) - 4, len(text), "person")]]})
    rows = model.training_rows(TextDataset(frame, label_kind="entities"))
    columns = tuple(tf.constant(column) for column in rows.columns)
    tokens, targets, weights = model.preprocess_samples(columns, rows.targets)
    assert tokens["token_ids"].shape == targets.shape == weights.shape
    assert tokens["padding_mask"].numpy().sum(axis=1).tolist() == rows.lengths.tolist()
    assert targets.numpy().max(axis=1).tolist()[-1] == 3 and targets.numpy()[0].max() == 0
    weighted = model.preprocess_samples(columns, rows.targets, tf.fill([len(rows.lengths)], 0.5))[2]
    np.testing.assert_allclose(weighted, weights * 0.5)


def test_it_learns(places):
    model = make()
    often = TextDataset(places.frame.loc[np.repeat(np.arange(4), 15)], label="spans", label_kind="entities")
    fine_tune(model, often, epochs=4, batch_size=4, learning_rate=3e-2, progress=False)
    report = evaluate(model.predict_text, places)
    assert report.metrics["f1"] > 0.7
    assert isinstance(model.predict_text("in Paris."), Entities)


def test_one_type_is_enough(places):
    model = make(labels=["city"])
    assert model.output.shape == (None, None, 3)
    with pytest.raises(UnknownLabel, match="row 1.*person"):
        model.encode_labels(places)
    assert places.labels.names == ("city", "person")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "bioo"}, "Did you mean 'bio'"),
        ({"words": "space"}, "Did you mean 'spaces'"),
        ({"cleaner": TextCleaner(html_tags=True)}, "html_tags"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        make(**settings)


@pytest.mark.slow
def test_contract(places, tmp_path):
    check_task(eager(make()), places, tmp_path)
