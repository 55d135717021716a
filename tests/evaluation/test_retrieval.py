import math

import numpy as np
import pytest

from tfllm.errors import ConfigError, DataError
from tfllm.evaluation.beir import RetrievalData
from tfllm.evaluation.retrieval import evaluate_retrieval, evaluate_search, retrieval_metrics
from tfllm.search.index import SearchIndex


def test_metrics_of_a_worked_example():
    judgements = {"q1": {"a": 2, "b": 1, "z": 1}, "q2": {"a": 1}, "q3": {"a": 1}}
    run = {"q1": {"x": 0.9, "a": 0.8, "b": 0.7}, "q2": {"a": 1.0}, "q3": {}}
    found = retrieval_metrics(run, judgements)
    gain = 2 / math.log2(3) + 1 / math.log2(4)  # ranks 2 and 3
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert found["ndcg_at_10"] == pytest.approx((gain / ideal + 1 + 0) / 3)
    assert found["recall_at_100"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["mrr"] == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_nothing_to_judge():
    with pytest.raises(ConfigError, match="at least one query"):
        retrieval_metrics({}, {})


def one_hot(texts):
    return np.array([[text.count(letter) for letter in "abc"] for text in texts], float)


def test_retrieval_leaves_out_the_document_that_is_the_query():
    data = RetrievalData({"1": "ab", "2": "a", "3": "c"}, {"1": "ab"}, {"1": {"2": 1}})
    assert evaluate_retrieval(one_hot, data)["mrr"] == 1.0


def test_queries_have_their_own_encoder():
    data = RetrievalData({"1": "a", "2": "b"}, {"q": "a"}, {"q": {"2": 1}})
    assert evaluate_retrieval(one_hot, data)["mrr"] == 0.5
    turned = evaluate_retrieval(one_hot, data, encode_query=lambda texts: one_hot(texts)[:, [1, 0, 2]])
    assert turned["mrr"] == 1.0 and turned["ndcg_at_10"] == 1.0


def test_an_encoder_that_gives_another_number_of_vectors():
    data = RetrievalData({"1": "a", "2": "b"}, {"q": "a", "r": "b"}, {"q": {"2": 1}, "r": {"1": 1}})
    with pytest.raises(DataError, match="1 vectors for 2 texts"):
        evaluate_retrieval(lambda texts: one_hot(texts)[:1], data)
    with pytest.raises(DataError, match="3 vectors for 2 texts"):
        evaluate_retrieval(one_hot, data, encode_query=lambda texts: one_hot([*texts, "c"]))


def test_only_so_many_documents_count():
    data = RetrievalData({str(n): "a" * n + "b" for n in range(1, 9)}, {"q": "b"}, {"q": {"8": 1}})
    assert evaluate_retrieval(one_hot, data, depth=7)["recall_at_100"] == 0.0
    assert evaluate_retrieval(one_hot, data)["recall_at_100"] == 1.0


DATA = RetrievalData({"1": "aab", "2": "ab", "3": "c"}, {"q": "ab", "r": "c"}, {"q": {"1": 1}, "r": {"3": 2}})


def indexed():
    index = SearchIndex(one_hot)
    index.add(list(DATA.documents.values()), ids=list(DATA.documents))
    return index


def test_a_search_is_judged_as_its_vectors_are():
    found = evaluate_search(lambda queries: indexed().search(queries, k=3), DATA)
    assert found == evaluate_retrieval(one_hot, DATA)
    assert found["mrr"] == pytest.approx((1 / 2 + 1) / 2)


def test_a_reranker_is_judged_by_the_search_it_ends():
    def longest_first(query, documents):
        return [len(text) for text in documents]

    found = evaluate_search(lambda queries: indexed().search(queries, k=3, rerank=longest_first), DATA)
    assert found["mrr"] == pytest.approx((1 + 1 / 3) / 2)


def test_hits_may_come_one_by_one():
    found = evaluate_search(lambda queries: (iter(hits) for hits in indexed().search(queries, k=3)), DATA)
    assert found["mrr"] == pytest.approx((1 / 2 + 1) / 2)


def test_a_search_that_finds_nothing():
    assert evaluate_search(lambda queries: [[] for _ in queries], DATA)["mrr"] == 0.0


def test_a_search_leaves_out_the_document_that_is_the_query():
    data = RetrievalData(DATA.documents, {"2": "ab"}, {"2": {"1": 1}})
    assert evaluate_search(lambda queries: indexed().search(queries, k=3), data)["mrr"] == 1.0


def test_hits_that_fit_no_document_or_query():
    index = SearchIndex(one_hot)
    index.add(["a", "b"])  # named 0 and 1
    with pytest.raises(DataError, match=r"ids=list\(data.documents\)"):
        evaluate_search(lambda queries: index.search(queries, k=2), DATA)
    with pytest.raises(DataError, match="each of 2 queries. Received: 1"):
        evaluate_search(lambda queries: indexed().search(queries[:1]), DATA)
