import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, DataError
from tfllm.evaluation.beir import RetrievalData
from tfllm.evaluation.embeddings import evaluate_retrieval, evaluate_similarity, retrieval_metrics


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


def test_only_so_many_documents_count():
    data = RetrievalData({str(n): "a" * n + "b" for n in range(1, 9)}, {"q": "b"}, {"q": {"8": 1}})
    assert evaluate_retrieval(one_hot, data, depth=7)["recall_at_100"] == 0.0
    assert evaluate_retrieval(one_hot, data)["recall_at_100"] == 1.0


def test_similarity_is_the_correlation_of_cosines():
    frame = pd.DataFrame({"a": ["a", "ab", "abc", "b"], "b": ["b", "a", "ab", "b"], "label": [1.0, 2.0, 3.0, 5.0]})
    data = TextDataset(frame, text="a", text_pair="b", label_kind="value")
    cosines = [0, 1 / math.sqrt(2), 2 / math.sqrt(6), 1]
    found = evaluate_similarity(one_hot, data)
    assert found["spearman"] == 1.0
    assert found["pearson"] == pytest.approx(stats.pearsonr(cosines, frame["label"]).statistic)


def test_rows_that_are_no_pairs():
    with pytest.raises(DataError, match="text_pair="):
        evaluate_similarity(one_hot, TextDataset(pd.DataFrame({"text": ["a"], "label": [1.0]}), label_kind="value"))
