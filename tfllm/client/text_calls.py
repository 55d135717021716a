"""The calls of models that take text, for both clients: results, embeddings, entities, answers, rankings, tables."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tfllm.client import frames
from tfllm.client.calls import QUESTION_NAMES, Target, Text
from tfllm.client.flows import Flow, shared, shared_for_texts
from tfllm.client.session import Session
from tfllm.errors import ConfigError, InvalidInput, SignatureMismatch
from tfllm.outputs import ROW_WIDE
from tfllm.results import Answer, Embedding, Entities, FilledMask, Ranking, Relevance, Result

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T", bound=Result)


class TextCalls:
    """The calls for texts. With an `AsyncClient`, await them; their sources may be asynchronous there too."""

    _session: Session
    _cut: Callable[..., Any]

    @shared_for_texts
    def predict(
        self, texts: Any, batch_size: int = 64, concurrency: int = 4, progress: bool | None = None
    ) -> Flow[list[Result]]:
        """Return the model's results for some texts; which class they are of follows from the model.

        Args:
            texts: one text; or any iterable (list, generator, pandas Series, ...) of texts or of pairs
                `(text, text_pair)` or `(question, context)`. `str` is sent as UTF-8, `bytes` as it is.
            batch_size: how many texts go into one request at most; fewer where they are large.
            concurrency: how many requests are under way at once.
            progress: `True` shows a bar, `False` none, `None` one on a terminal or in a notebook after 2 seconds.

        Returns:
            One result for one text, else a list with one result a text, in order.

        Raises:
            InvalidInput: an item is neither text nor pair; the message names its position.
            SignatureMismatch: the model's outputs are those of no tfllm task; use `predict_arrays`.
            Timeout: not all answers came in time.
            ServerUnavailable: the server cannot be reached.
            ModelNotFound: the server has no such model or version.
            PartialFailure: some requests failed; the error has the rows that did and the results of the others, and
                is at the same time of the class of the first failure.
            CallError: any other failure; the class tells which.

        Example:
            >>> client.predict("Great film")
            Classification(label='5', score=0.9871)
            >>> client.predict([("It rains.", "The street is wet.")])
            [Classification(label='entailment', score=0.9104)]
        """
        return self._results(texts, batch_size, concurrency, progress)

    @shared_for_texts
    def embed(
        self, texts: Any, batch_size: int = 64, concurrency: int = 4, progress: bool | None = None
    ) -> Flow[list[Embedding]]:
        """Return a vector for each text. `np.asarray` of the list is the matrix, float32 `(texts, dim)`.

        Args, errors: as in `predict`.

        Raises:
            SignatureMismatch: the model is no TextEmbedder.
            CallError: the call failed; see `predict`.

        Example:
            >>> np.asarray(client.embed(["a cat", "a dog"])).shape
            (2, 384)
        """
        return _all(Embedding, (yield from self._results(texts, batch_size, concurrency, progress)))

    @shared_for_texts
    def entities(
        self, texts: Any, batch_size: int = 64, concurrency: int = 4, progress: bool | None = None
    ) -> Flow[list[Entities]]:
        """Return the entities of each text, in its order.

        Args, errors: as in `predict`.

        Raises:
            SignatureMismatch: the model is no TokenClassifier.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.entities("In Paris")
            (Entity('city', 'Paris', start=3, end=8, score=0.9800),)
        """
        return _all(Entities, (yield from self._results(texts, batch_size, concurrency, progress)))

    @shared_for_texts
    def fill_mask(
        self, texts: Any, batch_size: int = 64, concurrency: int = 4, progress: bool | None = None
    ) -> Flow[list[tuple[FilledMask, ...]]]:
        """Return what may stand at each `[MASK]` of each text, the most probable first.

        Args, errors: as in `predict`.

        Raises:
            SignatureMismatch: the model is no MaskedLM.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.fill_mask("A [MASK] film.")[0].tokens[:2]
            ('good', 'short')
        """
        results = yield from self._results(texts, batch_size, concurrency, progress)
        for result in results:
            if not isinstance(result, tuple) or isinstance(result, Entities):
                raise _mismatch("FilledMask", result)
        return cast(list[tuple[FilledMask, ...]], results)

    @shared
    def answer(self, question: Text, context: Text) -> Flow[Answer]:
        """Return the part of a context that answers a question.

        Args:
            question: the question.
            context: the text that may hold the answer.

        Returns:
            The answer; its `answer` is empty if there is none in the context.

        Raises:
            SignatureMismatch: the model is no QuestionAnswerer.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.answer(question="Where is the Louvre?", context="The Louvre is in Paris.")
            Answer('Paris', start=17, end=22, score=0.9312)
        """
        target = replace(self._session.target, names=QUESTION_NAMES)
        return _all(Answer, (yield from self._results([(question, context)], 1, 1, False, target)))[0]

    @shared
    def answers(
        self,
        pairs: Iterable[tuple[Text, Text]],
        *,
        batch_size: int = 64,
        concurrency: int = 4,
        progress: bool | None = None,
    ) -> Flow[list[Answer]]:
        """Return the answers to many questions.

        Args:
            pairs: a question and its context each.
            batch_size: how many go into one request at most; fewer where they are large.
            concurrency: how many requests are under way at once.
            progress: whether a bar is shown; see `predict`.

        Raises:
            SignatureMismatch: the model is no QuestionAnswerer.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.answers([("Who wrote it?", "Written by Ada."), ("When?", "In 1843.")])[1].answer
            '1843'
        """
        target = replace(self._session.target, names=QUESTION_NAMES)
        return _all(Answer, (yield from self._results(pairs, batch_size, concurrency, progress, target)))

    @shared
    def rank(
        self,
        query: Text,
        documents: Iterable[Text],
        *,
        top_k: int | None = None,
        batch_size: int = 64,
        concurrency: int = 4,
    ) -> Flow[list[Ranking]]:
        """Return documents in the order of how well they answer a query, the best first.

        Args:
            query: the query.
            documents: the documents, from any iterable.
            top_k: how many to return; all without it.
            batch_size: how many go into one request at most; fewer where they are large.
            concurrency: how many requests are under way at once.

        Raises:
            ConfigError: `top_k` is no number of documents.
            InvalidInput: the documents are one text, or one is no text.
            SignatureMismatch: the model is no Reranker.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.rank("capital of France", ["Rome is old.", "Paris is the capital."], top_k=1)
            [Ranking(index=1, score=0.9721, text='Paris is the capital.')]
        """
        if isinstance(documents, str | bytes):
            raise InvalidInput("Expected a list of documents. Received: one text.")
        if not isinstance(documents, Iterable) or hasattr(documents, "columns"):
            raise InvalidInput(f"Expected a list of documents. Received: {type(documents).__name__}.")
        if top_k is not None and top_k < 0:
            raise ConfigError(f"Expected how many documents to return, or None for all. Received: top_k={top_k}.")
        documents = list(documents)
        pairs = [(query, document) for document in documents]
        scores = [item.score for item in _all(Relevance, (yield from self._results(pairs, batch_size, concurrency)))]
        order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
        texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in documents]
        return [Ranking(index, scores[index], texts[index]) for index in order[:top_k]]

    @shared
    def to_frame(
        self,
        frame: "pd.DataFrame",
        text: str,
        text_pair: str | None = None,
        *,
        prefix: str = "",
        batch_size: int = 64,
        concurrency: int = 4,
    ) -> "Flow[pd.DataFrame]":
        """Return a DataFrame with the results beside its rows (needs pandas).

        Args:
            frame: the rows; it is not changed.
            text: the column of the texts.
            text_pair: the column of the second texts, for models of pairs.
            prefix: goes before the names of the new columns, where they are taken.
            batch_size: how many texts go into one request at most; fewer where they are large.
            concurrency: how many requests are under way at once.

        Returns:
            The rows, the index as it was, with the fields of the results as columns: `label` and `score` of a
            classifier, `value` of a regressor, `entities`, `embedding` and so on.

        Raises:
            MissingColumn: the DataFrame has no such column.
            ConfigError: it has columns of the new names, which is said before a text is sent; give a prefix.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.to_frame(pd.DataFrame({"review": ["Loved it!"]}), text="review")
                  review label   score
            0  Loved it!     5  0.9712
        """
        texts = frames.texts_of(frame, text, text_pair)
        if not texts or frames.may_clash(frame, prefix):
            columns = yield from self._session.table_columns()
            frames.check_free(frame, columns, prefix)  # before hours of work
            if not texts and columns:
                return frame.assign(**{f"{prefix}{name}": [] for name in columns if name not in ROW_WIDE})
        results = yield from self._results(texts, batch_size, concurrency)
        return frames.with_results(frame, results, prefix)

    def _results(
        self,
        items: Any,
        batch_size: int,
        concurrency: int,
        progress: bool | None = None,
        target: Target | None = None,
    ) -> Flow[list[Result]]:
        return self._session.results(items, batch_size, concurrency, progress, target=target, cut=self._cut)


def _all(kind: type[T], results: list[Result]) -> list[T]:
    """Return the results, which must be of one class.

    Raises:
        SignatureMismatch: one is not; the model is of another task.
    """
    for result in results:
        if not isinstance(result, kind):
            raise _mismatch(kind.__name__, result)
    return cast(list[T], results)


def _mismatch(expected: str, result: Result) -> SignatureMismatch:
    name = type(result).__name__ if not isinstance(result, tuple) or isinstance(result, Entities) else "FilledMask"
    return SignatureMismatch(
        f"Expected a model that gives {expected}. Received: {name} results, so it is of another task. "
        "predict returns them as they are."
    )
