"""What a search finds: the `Hit`, and rankings put together."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

_Item = TypeVar("_Item", bound=Hashable)

RANK_CONSTANT = 60
"""How little the first ranks count more than the next ones; the value of the paper."""


@dataclass(frozen=True)
class Hit:
    """One document that was found.

    Attributes:
        id: its id in the index.
        text: the document.
        score: how well it fits; comparable between the hits of one query. The cosine similarity, the BM25 score, the
            score of the fused ranks, or that of the reranker: what was searched by, last.

    Example:
        >>> Hit("d1", "Paris is in France.", 0.9).id
        'd1'
    """

    id: str
    text: str
    score: float

    def __repr__(self) -> str:
        return f"Hit(id={self.id!r}, score={self.score:.4f}, text={self.text!r:.60})"


def fuse_ranks(rankings: Iterable[Sequence[_Item]]) -> list[tuple[_Item, float]]:
    """Put rankings together by reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009).

    Args:
        rankings: items, the best first; each ranking may have other ones.

    Returns:
        Items with the sum of 1 / (60 + rank) over the rankings, the best first; equal ones in the order in which they
        came.

    Example:
        >>> [item for item, _ in fuse_ranks([["a", "b"], ["b", "c"]])]
        ['b', 'a', 'c']
    """
    scores: dict[_Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1 / (RANK_CONSTANT + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])
