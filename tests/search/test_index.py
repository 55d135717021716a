import json

import numpy as np
import pytest

from tfllm.client.client import Client
from tfllm.errors import ConfigError, DataError, VersionNotFound
from tfllm.results import Ranking
from tfllm.search.index import SearchIndex

DOCUMENTS = ["aaa", "abab", "ccc", "a b b", "日本語 ccc"]


def letters(texts):
    return np.array([[text.count(letter) + 0.01 for letter in "abc"] for text in texts])


def more_letters(texts):
    return np.array([[text.count(letter) + 0.01 for letter in "bcad"] for text in texts])


class Embedder:
    """Like a TextEmbedder: queries have a prefix of their own."""

    def encode_text(self, texts, kind):
        return letters([("ccc" if kind == "query" else "") + text for text in texts])


@pytest.fixture(params=["exact", "approximate"])
def index(request):
    index = SearchIndex(letters, kind=request.param)
    index.add(DOCUMENTS)
    return index


def ids(hits):
    return [hit.id for hit in hits]


def test_the_nearest_come_first(index):
    (hits,) = index.search(["ab"], k=2)
    assert ids(hits) == ["1", "3"] and hits[0].text == "abab"
    assert hits[0].score == pytest.approx(1.0, abs=1e-3) and hits[0].score > hits[1].score
    assert index.search("ab", k=2) == hits


def test_more_than_there_are(index):
    assert len(index.search("ab", k=50)) == 5
    assert len(index.search("ab", k=50, mode="both")) == 5


def test_an_empty_index_finds_nothing_and_is_not_saved(tmp_path):
    for kind in ("exact", "approximate"):
        index = SearchIndex(letters, kind=kind)
        for mode in ("meaning", "words", "both"):
            assert index.search("ab", mode=mode) == [] and index.search(["a", "b"], mode=mode) == [[], []]
        index.add([])
        assert len(index) == 0 and index.search([]) == []
        with pytest.raises(DataError, match="before saving"):
            index.save(tmp_path / "index")


def test_documents_are_added_later(index):
    index.search("ccc", mode="words")
    index.add(["cc", "d e"], ids=["é", "文"])
    assert len(index) == 7 and "文" in index and "x" not in index
    assert "文" in ids(index.search("e", mode="words"))
    assert set(ids(index.search("ccc", k=3))) == {"2", "4", "é"}


def test_equal_documents_have_their_own_ids():
    index = SearchIndex(letters)
    index.add(["aa", "aa", "b"], ids=["x", "y", "z"])
    assert ids(index.search("a", k=2)) == ["x", "y"]


@pytest.mark.parametrize(
    ("documents", "names", "message"),
    [
        (["x", "y"], ["1", "new"], r"new and differ.*\['1'\]"),
        (["x", "y"], ["new", "new"], r"\['new'\]"),
        (["x", "y"], ["new"], "1 ids, 2 documents"),
        (["x", None], None, "item 1"),
        (["x"], [3], "int"),
        ("text", None, "list of texts"),
    ],
)
def test_documents_that_cannot_be_added(index, documents, names, message):
    with pytest.raises(DataError, match=message):
        index.add(documents, ids=names)
    assert len(index) == 5 and len(index._vectors) == 5


def test_calls_that_cannot_be(index):
    with pytest.raises(ConfigError, match="meaning"):
        index.search("a", mode="meanings")
    with pytest.raises(ConfigError, match="k=0"):
        index.search("a", k=0)
    with pytest.raises(DataError, match="item 0"):
        index.search([1])
    with pytest.raises(ConfigError, match="exact"):
        SearchIndex(letters, kind="exakt")
    with pytest.raises(ConfigError, match="str"):
        SearchIndex("all_minilm_l6_v2_en")


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda texts: letters(texts)[:1], "1 vectors for 2 texts"),
        (lambda texts: letters(texts)[0], "shape"),
        (lambda texts: letters(texts) * np.nan, "not finite"),
    ],
)
def test_encoders_that_give_no_vectors(encode, message):
    with pytest.raises(DataError, match=message):
        SearchIndex(encode).add(["a", "b"])


def test_vectors_of_another_size_are_refused():
    sizes = iter([3, 2])
    index = SearchIndex(lambda texts: np.ones((len(texts), next(sizes))))
    index.add(["a"])
    with pytest.raises(DataError, match="3 numbers"):
        index.add(["b"])
    assert len(index) == 1


def test_words_and_both(index):
    index.add(["zebra crossing", "zebra zebra"])
    assert ids(index.search("Zebra?", mode="words")) == ["6", "5"]
    assert index.search("unheard", mode="words") == index.search("", mode="words") == []
    both = index.search("ccc zebra", k=7, mode="both")
    assert len(both) == 7
    assert both[0].score == pytest.approx(1 / 61 + 1 / 62, abs=1e-3)
    assert "4" in ids(index.search("日本語", mode="words"))


def test_documents_without_words():
    index = SearchIndex(letters)
    index.add(["!!", "??"])
    assert index.search("a", mode="words") == [] and len(index.search("a", mode="both")) == 2


def test_queries_have_their_own_prefix():
    index = SearchIndex(Embedder())
    index.add(DOCUMENTS)
    assert index.search("", k=1)[0].id == "2"


class Longest:
    def rank(self, query, documents):
        order = sorted(range(len(documents)), key=lambda row: -len(documents[row]))
        return [Ranking(row, float(len(documents[row])), documents[row]) for row in order]


def test_a_second_look(index):
    for rerank in (Longest(), lambda query, documents: [len(text) for text in documents]):
        hits = index.search("ab", k=2, rerank=rerank)
        assert ids(hits) == ["4", "3"] and hits[0].score == 7.0
        assert ids(index.search(["ab"], k=1, rerank=rerank, candidates=2)[0]) == ["3"]
        assert index.search("unheard", mode="words", rerank=rerank) == []
    with pytest.raises(DataError, match="each of 5 documents"):
        index.search("ab", rerank=lambda query, documents: [1.0])


@pytest.mark.parametrize("rows", [[0, 5], [-1], [0, 0]])
def test_a_reranker_that_names_other_documents(index, rows):
    class Custom:
        def rank(self, query, documents):
            return [Ranking(row, 1.0, "") for row in rows]

    with pytest.raises(DataError, match="indices are from 0 to 4, each once. Received: "):
        index.search("ab", rerank=Custom())


def test_a_reranker_may_leave_documents_out(index):
    class Second:
        def rank(self, query, documents):
            return [Ranking(1, 0.5, documents[1])]

    assert ids(index.search("ab", rerank=Second())) == [ids(index.search("ab"))[1]]


def test_a_reranker_whose_scores_are_no_numbers(index):
    class NoNumber:
        def rank(self, query, documents):
            return [Ranking(0, float("nan"), documents[0])]

    for rerank in (NoNumber(), lambda query, documents: [1.0, float("nan"), 3.0, 2.0, 0.0]):
        with pytest.raises(DataError, match="scores that are numbers. Received: nan"):
            index.search("ab", rerank=rerank)


def test_ids_that_are_taken_are_passed_over():
    index = SearchIndex(letters)
    index.add(["a", "b"], ids=["2", "4"])
    index.add(["c", "ab", "bc"])
    assert ids(index.search("c", k=5))[0] == "3" and all(name in index for name in "23456")
    index.add(["aa"])
    assert len(index) == 6 and "7" in index


def test_words_keep_their_marks():
    index = SearchIndex(letters)
    index.add(
        ["हिन्दी भाषा", "हम", "cafe\u0301 noir", "cafe", "❤\ufe0f नी"], ids=["hindi", "we", "accent", "plain", "other"]
    )
    assert ids(index.search("हिन्दी", mode="words")) == ["hindi"]
    assert index.search("ह", mode="words") == index.search("न", mode="words") == []
    assert ids(index.search("café", mode="words")) == ids(index.search("CAFE\u0301", mode="words")) == ["accent"]
    assert ids(index.search("cafe", mode="words")) == ["plain"]
    assert index.search("\ufe0f", mode="words") == []


def test_save_and_load(tmp_path, index):
    index.add(["\ud800 lone"], ids=["ünï 文 🙂"])
    assert index.save(tmp_path / "index").version == 1
    loaded = SearchIndex.load(tmp_path / "index", letters)
    assert (loaded.kind, len(loaded)) == (index.kind, 6)
    for mode in ("meaning", "words", "both"):
        assert loaded.search(["ab", "ccc"], mode=mode) == index.search(["ab", "ccc"], mode=mode)
    loaded.add(["bbb"])
    assert loaded.save(tmp_path / "index").version == 2
    assert "6" in SearchIndex.load(tmp_path / "index", letters)
    assert len(SearchIndex.load(tmp_path / "index", letters, version=1)) == 6


def test_another_encoder_is_refused(tmp_path, index):
    index.save(tmp_path)
    for encode, message in ((more_letters, "4 numbers instead of 3"), (lambda t: letters(t)[:, ::-1], "same texts")):
        with pytest.raises(ConfigError, match=message):
            SearchIndex.load(tmp_path, encode)
    rounded = SearchIndex.load(tmp_path, lambda texts: letters(texts).astype("float16"))
    assert len(rounded) == 5


def test_damaged_indexes(tmp_path, index):
    folder = index.save(tmp_path).path
    with pytest.raises(VersionNotFound, match="Available: 1"):
        SearchIndex.load(tmp_path, letters, version=2)
    vectors = folder / ("vectors.npy" if index.kind == "exact" else "vectors.faiss")
    for file, content in ((vectors, b"x"), (folder / "documents.jsonl", b'["1", "a"]\n'), (folder / "probes.npy", b"")):
        whole = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(DataError, match="Expected"):
            SearchIndex.load(tmp_path, letters)
        file.write_bytes(whole)
    header = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**header, "format": 2}))
    with pytest.raises(DataError, match="format 2"):
        SearchIndex.load(tmp_path, letters)


def test_a_failed_save_leaves_nothing(tmp_path, index, monkeypatch):
    monkeypatch.setattr(index._vectors, "write", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        index.save(tmp_path / "index")
    assert list((tmp_path / "index").iterdir()) == []


def test_a_client_of_another_task_is_refused(monkeypatch):
    with Client("127.0.0.1:1", model="reviews") as client:
        monkeypatch.setattr(client, "predict", lambda texts: [Ranking(0, 1.0) for _ in texts])
        monkeypatch.setattr(client, "metadata", lambda: type("Metadata", (), {"signatures": {}})())
        with pytest.raises(ConfigError, match="Ranking"):
            SearchIndex(client).add(["a"])
