"""Anything that turns texts into vectors, behind one face: a function, an embedder, a client of a served one."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfllm.client.client import Client
from tfllm.errors import ConfigError
from tfllm.results import Embedding
from tfllm.search.vectors import Floats, vectors_of

Encode = Callable[[Sequence[str]], npt.ArrayLike]

_QUERY_BATCH = 64
_QUERY_SIGNATURE = "query"


class Encoder:
    """Documents and queries as vectors of length 1.

    Args:
        source: a function of texts; or something with `encode_text(texts, kind)`, such as a `TextEmbedder`; or a
            `Client` of a served embedder, whose `query` signature, if it has one, is used for queries.

    Raises:
        ConfigError: it is none of these.
    """

    def __init__(self, source: Any) -> None:
        self.documents: Encode
        self.queries: Encode
        if isinstance(source, Client):
            self.documents = lambda texts: _vectors(source.predict(texts))
            has_own = _QUERY_SIGNATURE in source.metadata().signatures
            self.queries = (lambda texts: _ask_queries(source, texts)) if has_own else self.documents
        elif hasattr(source, "encode_text"):
            self.documents = lambda texts: source.encode_text(texts, "document")
            self.queries = lambda texts: source.encode_text(texts, "query")
        elif callable(source):
            self.documents = self.queries = source
        else:
            raise ConfigError(
                "Expected a function of texts, an embedder with encode_text, or a Client. "
                f"Received: a {type(source).__name__}."
            )

    def encode(self, texts: Sequence[str], kind: str = "document") -> Floats:
        """Return one vector a text, float32 `(texts, dim)`.

        Raises:
            DataError: the encoder did not give one vector of finite numbers a text.
        """
        return vectors_of(self.queries if kind == "query" else self.documents, texts)


def _ask_queries(client: Client, texts: Sequence[str]) -> Floats:
    starts = range(0, len(texts), _QUERY_BATCH)
    batches = [{"text": list(texts[start : start + _QUERY_BATCH])} for start in starts]
    return np.concatenate([client.predict_arrays(batch, _QUERY_SIGNATURE)["embedding"] for batch in batches])


def _vectors(results: Sequence[Any]) -> npt.ArrayLike:
    other = next((result for result in results if not isinstance(result, Embedding)), None)
    if other is not None:
        raise ConfigError(
            f"Expected a Client of an embedder. Received: one whose model answers {type(other).__name__}."
        )
    return np.asarray([result.vector for result in results])
