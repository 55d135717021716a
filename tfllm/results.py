"""What a prediction is: small frozen records.

`tfllm.outputs` makes them. Each record renders itself in a notebook.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


class _Record:
    """What all records share: `_repr_html_`, for notebooks."""

    def _repr_html_(self) -> str:
        from tfllm import result_pages

        return result_pages.render(self)


@dataclass(frozen=True)
class Classification(_Record):
    """One label for one text.

    Attributes:
        label: the most probable label.
        score: its probability, 0 to 1.
        scores: the probability of every label, in the order of the model's label list.

    Example:
        >>> Classification("good", 0.9, scores=(0.1, 0.9)).label
        'good'
    """

    label: str
    score: float
    scores: tuple[float, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        return f"Classification(label={self.label!r}, score={self.score:.4f})"


@dataclass(frozen=True)
class MultiLabel(_Record):
    """Any number of labels for one text.

    Attributes:
        labels: the labels over their thresholds, in the order of the model's label list.
        scores: the probability of every label the model knows, each 0 to 1, in that order.

    Example:
        >>> MultiLabel(("price", "service"), scores=(0.9, 0.1, 0.8)).labels
        ('price', 'service')
    """

    labels: tuple[str, ...]
    scores: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Regression(_Record):
    """A number for a text, or for a pair of texts.

    Attributes:
        value: the number, in the units of the training data.

    Example:
        >>> Regression(3.5).value
        3.5
    """

    value: float

    def __repr__(self) -> str:
        return f"Regression(value={self.value:.4f})"


@dataclass(frozen=True)
class Relevance(_Record):
    """How well a document answers a query.

    Attributes:
        score: higher is better; comparable between the documents of one query.

    Example:
        >>> Relevance(0.9).score
        0.9
    """

    score: float

    def __repr__(self) -> str:
        return f"Relevance(score={self.score:.4f})"


@dataclass(frozen=True)
class Ranking(_Record):
    """One document in its place after ranking.

    Attributes:
        index: its position in the documents as they were given.
        score: its relevance; higher is better.
        text: the document.

    Example:
        >>> Ranking(2, 0.9, "Paris is in France.").index
        2
    """

    index: int
    score: float
    text: str = ""

    def __repr__(self) -> str:
        return f"Ranking(index={self.index}, score={self.score:.4f}, text={self.text!r:.60})"


@dataclass(frozen=True)
class Entity(_Record):
    """A part of a text that has a name of its own.

    Attributes:
        entity: its type.
        word: the part of the text: `text[start:end]`.
        start: where it begins, in Unicode code points of the text as it was sent.
        end: where it ends, exclusive.
        score: the model's confidence, 0 to 1.

    Example:
        >>> Entity("city", "Paris", 3, 8, 0.98).word
        'Paris'
    """

    entity: str
    word: str
    start: int
    end: int
    score: float

    def __repr__(self) -> str:
        return f"Entity({self.entity!r}, {self.word!r}, start={self.start}, end={self.end}, score={self.score:.4f})"


class Entities(tuple[Entity, ...], _Record):
    """The entities of one text, in its order: a tuple that also knows the text.

    Attributes:
        text: the text, or None if it is not known.

    Example:
        >>> found = Entities([Entity("city", "Paris", 3, 8, 0.98)], text="In Paris")
        >>> len(found), found.text[found[0].start : found[0].end]
        (1, 'Paris')
    """

    text: str | None

    def __new__(cls, entities: Iterable[Entity] = (), text: str | None = None) -> "Entities":
        """Make the tuple of `entities`, and keep `text`."""
        made = super().__new__(cls, entities)
        made.text = text
        return made

    def __getnewargs__(self) -> tuple[tuple[Entity, ...], str | None]:
        return tuple(self), self.text


@dataclass(frozen=True)
class Answer(_Record):
    """The part of a context that answers a question.

    Attributes:
        answer: that part, `context[start:end]`; empty if there is none.
        start: where it begins, in Unicode code points of the context as it was sent.
        end: where it ends, exclusive.
        score: the model's confidence, 0 to 1.
        context: the context, or None if it is not known.

    Example:
        >>> Answer("Paris", 0, 5, 0.9, context="Paris is the capital.").answer
        'Paris'
    """

    answer: str
    start: int
    end: int
    score: float
    context: str | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Answer({self.answer!r}, start={self.start}, end={self.end}, score={self.score:.4f})"


@dataclass(frozen=True, eq=False)
class Embedding(_Record):
    """A text as a vector. `np.asarray(embedding)` is the vector, and a list of them stacks to a matrix.

    Attributes:
        vector: float32 `(dim,)`.

    Example:
        >>> np.asarray([Embedding(np.ones(4, "float32")), Embedding(np.zeros(4, "float32"))]).shape
        (2, 4)
    """

    vector: npt.NDArray[np.float32]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.vector, dtype=dtype) if copy else np.asarray(self.vector, dtype=dtype)

    def __len__(self) -> int:
        return len(self.vector)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Embedding) and np.array_equal(self.vector, other.vector)

    __hash__ = None  # type: ignore[assignment]  # as for the array inside

    def __repr__(self) -> str:
        first = ", ".join(f"{value:.4f}" for value in self.vector[:3])
        return f"Embedding(dim={len(self)}, [{first}{', ...' if len(self) > 3 else ''}])"


@dataclass(frozen=True)
class FilledMask(_Record):
    """What may stand at one `[MASK]` of a text.

    Attributes:
        tokens: the candidates, the most probable first.
        scores: their probabilities.

    Example:
        >>> FilledMask(("good", "fine"), (0.6, 0.2)).tokens[0]
        'good'
    """

    tokens: tuple[str, ...]
    scores: tuple[float, ...]


Result = (
    Classification
    | MultiLabel
    | Regression
    | Relevance
    | Ranking
    | Entities
    | Answer
    | Embedding
    | tuple[FilledMask, ...]
)
"""Any of the result classes; one a row."""
