"""Judge what queries find: `evaluate_retrieval` for anything that encodes texts, `evaluate_search` for any search."""

from collections.abc import Callable, Sequence

import pytrec_eval

from tfllm.errors import ConfigError, DataError
from tfllm.evaluation.beir import RetrievalData
from tfllm.evaluation.embeddings import Encode
from tfllm.search.hits import Hit
from tfllm.search.vectors import ExactVectors, vectors_of

Search = Callable[[Sequence[str]], Sequence[Sequence[Hit]]]
Run = dict[str, dict[str, float]]
"""Query id -> document id -> score; the higher the better."""

_DEPTH = 100


def evaluate_retrieval(
    encode: Encode, data: RetrievalData, *, encode_query: Encode | None = None, depth: int = _DEPTH
) -> dict[str, float]:
    """Judge embeddings by how well queries find the documents that answer them.

    The documents are ranked by cosine similarity, exactly. As in BEIR, a document with the id of its query is left out.

    Args:
        encode: texts -> float `(texts, dim)`, for documents.
        data: documents, queries and judgements, from `load_beir`.
        encode_query: the same for queries; `encode` without it.
        depth: how many documents a query gets.

    Returns:
        What `retrieval_metrics` gives.

    Raises:
        DataError: `encode` or `encode_query` does not give one vector for each text.

    Example:
        >>> import numpy as np
        >>> data = RetrievalData({"a": "x", "b": "y"}, {"q": "x"}, {"q": {"a": 1}})
        >>> letters = lambda texts: np.array([[text.count("x"), text.count("y")] for text in texts], float)
        >>> evaluate_retrieval(letters, data)["ndcg_at_10"]
        1.0
    """
    ids = list(data.documents)
    index = ExactVectors()
    index.add(vectors_of(encode, list(data.documents.values())))
    queries = vectors_of(encode_query or encode, list(data.queries.values()))
    scores, rows = index.search(queries, min(depth + 1, len(ids)))  # one more, for the document that is the query
    run = {}
    for query, values, places in zip(data.queries, scores, rows, strict=True):
        found = [(ids[place], float(value)) for value, place in zip(values, places, strict=True)]
        run[query] = dict([(name, value) for name, value in found if name != query][:depth])
    return retrieval_metrics(run, data.judgements)


def evaluate_search(search: Search, data: RetrievalData) -> dict[str, float]:
    """Judge a search of any kind, with a reranker or without one, by how well queries find what answers them.

    As in BEIR, a document with the id of its query is left out. A reranker is judged by the same search with it and
    without it; ask both for as many documents (`k`), 100 or more where `recall_at_100` is read.

    Args:
        search: queries -> the hits of each, the best first, whose ids are those of `data.documents`, such as
            `lambda queries: index.search(queries, k=100, rerank=reranker)`.
        data: documents, queries and judgements, from `load_beir`.

    Returns:
        What `retrieval_metrics` gives.

    Raises:
        DataError: `search` does not give a list of hits for each query, or finds a document that is not in the data.

    Example:
        >>> data = RetrievalData({"a": "x", "b": "y"}, {"q": "x"}, {"q": {"a": 1}})
        >>> evaluate_search(lambda queries: [[Hit("b", "y", 0.9), Hit("a", "x", 0.8)] for _ in queries], data)["mrr"]
        0.5
    """
    found = [list(hits) for hits in search(list(data.queries.values()))]
    if len(found) != len(data.queries):
        raise DataError(f"Expected hits for each of {len(data.queries)} queries. Received: {len(found)} lists.")
    unknown = next((hit for hits in found for hit in hits if hit.id not in data.documents), None)
    if unknown is not None:
        raise DataError(
            f"Expected hits with ids of the data's documents. Received: {unknown!r}. "
            "Give them to the index: index.add(list(data.documents.values()), ids=list(data.documents))."
        )
    run = {
        query: {hit.id: float(-rank) for rank, hit in enumerate(hits) if hit.id != query}
        for query, hits in zip(data.queries, found, strict=True)
    }
    return retrieval_metrics(run, data.judgements)


def retrieval_metrics(run: Run, judgements: dict[str, dict[str, int]]) -> dict[str, float]:
    """Return how good rankings are, as means over the queries, by trec_eval's own code.

    Args:
        run: what was found: query id -> document id -> score.
        judgements: query id -> document id -> relevance.

    Returns:
        `ndcg_at_10` (Järvelin and Kekäläinen, 2002), `recall_at_100`, and `mrr`, the mean of 1 over the rank of the
        first relevant document; each 0 to 1. A query for which nothing was found counts as 0.

    Raises:
        ConfigError: there is nothing to judge.

    Example:
        >>> retrieval_metrics({"q": {"a": 0.9, "b": 0.8}}, {"q": {"b": 1}})["mrr"]
        0.5
    """
    if not judgements:
        raise ConfigError("Expected judgements of at least one query. Received: none.")
    names = {"ndcg_at_10": "ndcg_cut_10", "recall_at_100": "recall_100", "mrr": "recip_rank"}
    evaluator = pytrec_eval.RelevanceEvaluator(judgements, {"ndcg_cut.10", "recall.100", "recip_rank"})
    found = evaluator.evaluate({query: documents for query, documents in run.items() if documents})
    means = {name: sum(row[key] for row in found.values()) / len(judgements) for name, key in names.items()}
    return {name: float(value) for name, value in means.items()}
