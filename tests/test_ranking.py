import pytest

from tfllm.errors import DataError
from tfllm.ranking import rank
from tfllm.results import Ranking, Regression, Relevance

SCORES = {"a": 0.2, "b": 0.9, "c": 0.2}


def by_table(pairs):
    assert {query for query, _ in pairs} == {"q"}
    return [Relevance(SCORES[document]) for _, document in pairs]


def test_the_best_comes_first_and_equals_keep_their_order():
    assert rank(by_table, "q", ["a", "b", "c"]) == [Ranking(1, 0.9, "b"), Ranking(0, 0.2, "a"), Ranking(2, 0.2, "c")]
    assert rank(by_table, "q", ["c", "b"], top_k=1) == [Ranking(1, 0.9, "b")]
    assert rank(by_table, "q", []) == []


@pytest.mark.parametrize(
    ("predict", "documents", "top_k", "words"),
    [
        (by_table, "abc", None, "a single text"),
        (by_table, ["a"], 0, "top_k of at least 1"),
        (lambda pairs: [], ["a"], None, "0 answers"),
        (lambda pairs: [Regression(1.0)], ["a"], None, "Regression"),
        (lambda pairs: [Relevance(0.5), Relevance(float("nan"))], ["a", "b"], None, "nan for document 1 of 'q'"),
    ],
)
def test_what_cannot_be_ranked(predict, documents, top_k, words):
    with pytest.raises(DataError, match=words):
        rank(predict, "q", documents, top_k=top_k)
