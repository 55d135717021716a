"""Documents in the order of their relevance for a query, by anything that scores pairs: `rank`."""

import math
from collections.abc import Callable, Sequence

from tfllm.errors import DataError
from tfllm.results import Ranking, Relevance, Result

PredictPairs = Callable[[Sequence[tuple[str, str]]], Sequence[Result]]


def rank(predict: PredictPairs, query: str, documents: Sequence[str], *, top_k: int | None = None) -> list[Ranking]:
    """Put documents in the order of their relevance for a query.

    Args:
        predict: pairs (query, document) -> one `Relevance` each: `reranker.predict_text`, the `predict` of a client, or
            any function.
        query: the query.
        documents: the documents.
        top_k: how many of the best to return; all by default.

    Returns:
        The documents, the most relevant first; of equal scores the earlier one comes first.

    Raises:
        DataError: `documents` is a single text, `top_k` is under 1, or `predict` does not give one `Relevance` for each
            document, with a number as its score.

    Example:
        >>> def shared_words(pairs):
        ...     return [Relevance(len(set(query.split()) & set(text.split()))) for query, text in pairs]
        >>> rank(shared_words, "capital of France", ["London", "Paris is the capital of France"], top_k=1)
        [Ranking(index=1, score=3.0000, text='Paris is the capital of France')]
    """
    if isinstance(documents, str | bytes):
        raise DataError("Expected a list of documents. Received: a single text. Put it in a list.")
    if top_k is not None and top_k < 1:
        raise DataError(f"Expected top_k of at least 1, or None for all documents. Received: {top_k}.")
    answers = list(predict([(query, document) for document in documents])) if documents else []
    scores = [answer.score for answer in answers if isinstance(answer, Relevance)]
    if len(scores) != len(documents):
        raise DataError(
            f"Expected one Relevance for each of {len(documents)} documents. Received: {len(answers)} answers"
            + (f", such as {answers[0]!r:.80}. Use the predict of a Reranker." if answers else ".")
        )
    for index, score in enumerate(scores):
        if math.isnan(score):
            raise DataError(
                f"Expected scores that are numbers. Received: {score} for document {index} of '{query:.60}'."
            )
    order = sorted(range(len(documents)), key=lambda index: -scores[index])
    return [Ranking(index, scores[index], documents[index]) for index in order[:top_k]]
