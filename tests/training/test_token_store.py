import json

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.corpus import Corpus
from tfllm.errors import EmptyDataset
from tfllm.training.token_store import shuffled, write_stores

SEPARATOR = 0


def tokenize(texts):
    """A word of so many letters is the token of that number."""
    return tf.strings.length(tf.strings.split(texts))


def stores(folder, texts, held_out=0.0, identity="a", **settings):
    return write_stores(
        folder,
        Corpus(texts),
        tokenize,
        identity={"corpus": identity},
        separator=SEPARATOR,
        row_length=4,
        held_out=held_out,
        **settings,
    )


def test_documents_are_packed_one_after_the_other(tmp_path):
    store, _ = stores(tmp_path, ["a bb ccc", "dddd", "eeeee ffffff ggggggg"])
    assert store.rows == 2  # ten ids, of which two fill no row
    assert store.read(np.array([0, 1])).tolist() == [[1, 2, 3, 0], [4, 0, 5, 6]]
    assert store.read(np.array([1])).tolist() == [[4, 0, 5, 6]]


def test_a_document_of_many_pieces_has_one_separator(tmp_path):
    text = "word " * 200_000
    store, _ = stores(tmp_path, [text, "end " * 7])
    ids = np.fromfile(store.file, "<i4")
    assert (ids == SEPARATOR).sum() == 2
    assert ids[-1] == SEPARATOR and ids[-9] == SEPARATOR


def test_pieces_are_held_out_evenly(tmp_path):
    texts = [f"{'x' * number} {'x' * number} {'x' * number}" for number in range(1, 101)]
    training, apart = stores(tmp_path, texts, held_out=0.1)
    assert (training.tokens, apart.tokens) == (360, 40)
    assert sorted(set(apart.read(np.arange(10)).ravel().tolist()) - {SEPARATOR}) == list(range(10, 101, 10))


def test_what_is_there_is_taken_and_what_has_changed_is_written_anew(tmp_path):
    first, _ = stores(tmp_path, ["a b c d"])
    before = first.file.stat().st_mtime_ns
    assert stores(tmp_path, ["a b c d"])[0].file.stat().st_mtime_ns == before
    assert stores(tmp_path, ["aa bb cc dd"], identity="b")[0].read(np.array([0])).tolist() == [[2, 2, 2, 2]]
    assert json.loads((tmp_path / "corpus.json").read_text())["identity"] == {"corpus": "b"}


def test_too_little_text(tmp_path):
    with pytest.raises(EmptyDataset, match="Received: 3 tokens"):
        stores(tmp_path, ["a b"])
    with pytest.raises(EmptyDataset, match="on each side"):
        stores(tmp_path / "both", ["a b c d"], held_out=0.1)


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000, 4097])
def test_the_order_is_a_permutation(size):
    first = shuffled(np.arange(size), size, seed=3, pass_number=0)
    assert sorted(first.tolist()) == list(range(size))
    np.testing.assert_array_equal(shuffled(np.arange(size), size, seed=3, pass_number=0), first)
    np.testing.assert_array_equal(shuffled(np.array([size - 1]), size, seed=3, pass_number=0), first[-1:])


def test_each_pass_has_an_order_that_looks_like_none():
    orders = [shuffled(np.arange(1000), 1000, seed=0, pass_number=number) for number in range(2)]
    assert np.mean(orders[0] == orders[1]) < 0.02
    for order in orders:
        assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.12
        assert np.mean(np.abs(np.diff(order)) < 10) < 0.05
