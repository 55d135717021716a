"""Find documents by their words: BM25, by bm25s."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfllm.extras import import_extra


class WordIndex:
    """BM25 (Robertson and Zaragoza, 2009) over words in lower case, without stemming or stop words: for any language.

    A word is letters, digits and the marks on them, in Unicode's form NFC.

    Args:
        documents: the texts.

    Raises:
        ConfigError: bm25s is not installed.

    Example:
        >>> [(row, _)] = WordIndex(["a good film", "bad food"]).search(["Food?"], 2)[0]
        >>> row
        1
    """

    def __init__(self, documents: Sequence[str]) -> None:
        self._bm25s = import_extra("bm25s", "search")
        tokens = self._tokens(documents)
        self._index = None
        if any(len(row) for row in tokens):  # bm25s takes no corpus without words
            self._index = self._bm25s.BM25()
            self._index.index(tokens, show_progress=False)

    def _tokens(self, texts: Sequence[str]) -> Any:
        plain = [unicodedata.normalize("NFC", text.lower()) for text in texts]
        settings = {"stopwords": [], "show_progress": False, "return_ids": False}
        return self._bm25s.tokenize(plain, token_pattern=_word_pattern(plain), **settings)

    def search(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """Return the row and score of up to `k` documents for each query, the best first; only ones with its words."""
        found = []
        for words in self._tokens(queries):
            known = [] if self._index is None else [word for word in words if word in self._index.vocab_dict]
            scores = self._index.get_scores(known) if self._index is not None and known else np.zeros(0)
            rows = np.argsort(-scores, kind="stable")[:k]
            found.append([(int(row), float(scores[row])) for row in rows if scores[row] > 0])
        return found


def _word_pattern(texts: Iterable[str]) -> str:
    """Return the pattern of a word of texts: `\\w` alone would cut it at combining marks, as Devanagari has them."""
    marks = {character for text in texts for character in set(text) if unicodedata.category(character)[0] == "M"}
    return rf"(?u)\w[\w{''.join(sorted(marks))}]*"
