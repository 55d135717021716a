"""Judge embeddings: `evaluate_similarity` and `evaluate_retrieval`, for anything that encodes texts."""

from collections.abc import Callable, Sequence

import numpy as np
import pytrec_eval
from scipy import stats

from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, DataError
from tfllm.evaluation.beir import RetrievalData
from tfllm.search.vectors import ExactVectors, unit_vectors

Encode = Callable[[Sequence[str]], np.ndarray]
Run = dict[str, dict[str, float]]
"""Query id -> document id -> score; the higher the better."""

_DEPTH = 100


def evaluate_similarity(encode: Encode, data: TextDataset) -> dict[str, float]:
    """Judge embeddings by how well their cosine similarities agree with similarities that people gave (STS).

    Args:
        encode: texts -> float `(texts, dim)`, such as `model.encode_text`.
        data: pairs with a number each, loaded with `text_pair=` and `label_kind="value"`.

    Returns:
        `spearman` and `pearson`, the correlations of cosine similarities with those numbers (Reimers and Gurevych,
        2019, section 4), -1 to 1.

    Raises:
        DataError: the rows are not pairs with numbers.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"a": ["x", "x", "x"], "b": ["x", "xy", "y"], "label": [5.0, 3.0, 0.0]})
        >>> data = TextDataset(frame, text="a", text_pair="b", label_kind="value")
        >>> letters = lambda texts: np.array([[text.count("x"), text.count("y")] for text in texts], float)
        >>> evaluate_similarity(letters, data)["spearman"]
        1.0
    """
    if data.text_pair is None:
        raise DataError(f"Expected pairs of texts. Received: {data!r}. Load it with text_pair=.")
    values = np.array(data.targets_of("value"), float)
    left, right = (unit_vectors(encode(data.frame[name].tolist())) for name in (data.text, data.text_pair))
    cosines = np.sum(left * right, axis=1)
    return {
        "spearman": round(float(stats.spearmanr(cosines, values).statistic), 12),
        "pearson": round(float(stats.pearsonr(cosines, values).statistic), 12),
    }


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

    Example:
        >>> data = RetrievalData({"a": "x", "b": "y"}, {"q": "x"}, {"q": {"a": 1}})
        >>> letters = lambda texts: np.array([[text.count("x"), text.count("y")] for text in texts], float)
        >>> evaluate_retrieval(letters, data)["ndcg_at_10"]
        1.0
    """
    ids = list(data.documents)
    index = ExactVectors()
    index.add(unit_vectors(encode(list(data.documents.values()))))
    queries = unit_vectors((encode_query or encode)(list(data.queries.values())))
    scores, rows = index.search(queries, min(depth + 1, len(ids)))  # one more, for the document that is the query
    run = {}
    for query, values, places in zip(data.queries, scores, rows, strict=True):
        found = [(ids[place], float(value)) for value, place in zip(values, places, strict=True)]
        run[query] = dict([(name, value) for name, value in found if name != query][:depth])
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
