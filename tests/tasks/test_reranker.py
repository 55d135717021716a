import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from contract import check_task

from tfllm.client.client import Client
from tfllm.client.mock import MockTransport
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, DataError
from tfllm.tasks.reranker import Reranker
from tfllm.training.fine_tuning import fine_tune

QUERIES = ["good", "bad", "great", "awful"]
DOCUMENTS = ["film good", "food bad", "film great", "food awful"]


def make_model(**settings):
    keras.utils.set_random_seed(0)
    return Reranker.from_preset("micro_bert", **settings)


def pairs(**columns):
    return pd.DataFrame({"query": QUERIES * 4, "document": DOCUMENTS * 4, **columns})


def labelled():
    right = pairs(relevance=1.0)
    wrong = right.assign(document=DOCUMENTS[1:] * 5 + DOCUMENTS[:1], relevance=0.0).iloc[:16]
    wrong["document"] = np.roll(right["document"], 1)
    frame = pd.concat([right, wrong])
    return TextDataset(frame, text="query", text_pair="document", label="relevance", label_kind="value")


def positives():
    return TextDataset(pairs(), text="query", text_pair="document", label=None)


def test_documents_are_ranked_by_score():
    model = make_model()
    found = model.rank("good film", DOCUMENTS, top_k=3)
    scores = [result.score for result in model.predict_text([("good film", text) for text in DOCUMENTS])]
    assert [result.index for result in found] == np.argsort(-np.array(scores), kind="stable")[:3].tolist()
    assert all(result.text == DOCUMENTS[result.index] for result in found)
    assert 0.0 < found[0].score < 1.0


def test_a_client_ranks_alike():
    model = make_model()

    def served(inputs):
        found = model.answer(*(tf.constant(inputs[name].tolist()) for name in ("text", "text_pair")))
        return {name: value.numpy() for name, value in found.items()}

    with Client("nowhere:1", model="m", transport=MockTransport(served)) as client:
        got, want = (ranker.rank("good film", DOCUMENTS, top_k=3) for ranker in (client, model))
    assert [(hit.index, hit.text) for hit in got] == [(hit.index, hit.text) for hit in want]
    np.testing.assert_allclose([hit.score for hit in got], [hit.score for hit in want], atol=1e-6)


def test_wrong_pairs_come_from_the_batch():
    model = make_model(negatives=2)
    data = positives()
    assert set(model.encode_labels(data)) == {-1.0}
    x = (tf.constant(["q1", "q2", "q3"]), tf.constant(["good", "bad", "good"]))
    tokens, y, weight = model.preprocess_samples(x, tf.fill([3], -1.0))
    assert y.numpy().tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    # A wrong document that is the right one does not count.
    assert weight.numpy().tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 0]
    assert tokens["token_ids"].shape[0] == 9
    tokens, y, _ = model.preprocess_samples(x, tf.constant([0.0, 1.0, 0.5]))
    assert y.numpy().tolist() == [0.0, 1.0, 0.5] and tokens["token_ids"].shape[0] == 3


@pytest.mark.parametrize("data", [labelled(), positives()], ids=["labelled", "positives"])
def test_training_lowers_the_loss(data):
    model = make_model(pooling="mean")
    history = fine_tune(model, data, epochs=10, batch_size=8, learning_rate=1e-2, progress=False)
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]


def test_rows_that_are_no_pairs_or_out_of_range(reviews):
    model = make_model()
    with pytest.raises(DataError, match="text_pair="):
        model.encode_labels(reviews)
    data = labelled()
    with pytest.raises(DataError, match="Expected relevance of 0 to 0.5"):
        make_model(value_range=(0, 0.5)).encode_labels(data)
    with pytest.raises(ConfigError, match="negatives"):
        make_model(negatives=0)


@pytest.mark.slow
def test_the_contract(tmp_path):
    check_task(make_model(), labelled(), tmp_path)


@pytest.mark.slow
def test_the_contract_without_labels(tmp_path):
    check_task(make_model(), positives(), tmp_path)
