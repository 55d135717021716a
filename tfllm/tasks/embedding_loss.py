"""What an embedder learns: in-batch negatives, cosine similarities, triplets; each also at shorter lengths."""

from dataclasses import dataclass

import tensorflow as tf

from tfllm.errors import ConfigError, choices_hint

KINDS = ("auto", "contrastive", "cosine", "triplet")

_NEVER = -1e9


@dataclass(frozen=True)
class EmbeddingLoss:
    """How an embedder is trained.

    Attributes:
        kind: "contrastive" for rows of a query, a text that fits it, and perhaps one that does not: every other text of
            the batch counts as one that does not fit (van den Oord et al., 2018, "Representation learning with
            contrastive predictive coding", section 2.3; Henderson et al., 2017, "Efficient natural language response
            suggestion", section 4). "cosine" for pairs with their similarity as a number. "triplet" for rows of an
            anchor, a text that fits it, and one that does not, on the unit sphere (Schroff et al., 2015, "FaceNet",
            section 3.1). "auto" is "cosine" for rows with a number and "contrastive" for rows without.
        temperature: what "contrastive" divides cosine similarities by.
        margin: how much nearer "triplet" wants the fitting text, in squared distance.
        dims: lengths at which the loss is taken too, and averaged, so that embeddings can be cut to them (Kusupati et
            al., 2022, "Matryoshka representation learning", section 3).

    Raises:
        ConfigError: a value is out of its range.

    Example:
        >>> EmbeddingLoss(dims=(128, 64)).kind
        'auto'
    """

    kind: str = "auto"
    temperature: float = 0.05
    margin: float = 0.2
    dims: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"Expected a loss. Received: kind={self.kind!r}. {choices_hint(self.kind, KINDS)}")
        for name, value in {"temperature": self.temperature, "margin": self.margin}.items():
            if not value > 0:
                raise ConfigError(f"Expected {name} over 0. Received: {name}={value}.")
        object.__setattr__(self, "dims", tuple(self.dims))

    def losses(self, vectors: tf.Tensor, *, texts: tf.Tensor | None, values: tf.Tensor | None) -> tf.Tensor:
        """Return the loss of each row.

        Args:
            vectors: float `(rows, texts, dim)`, of any length.
            texts: int `(rows, texts)`: equal numbers are equal texts; where there are no values.
            values: float `(rows,)`, the similarity that each pair should have, or None.

        Returns:
            float32 `(rows,)`.
        """
        whole = vectors.shape[-1]
        lengths = sorted({whole, *self.dims})
        each = [self._losses(normalized(vectors[..., :dim]), texts, values) for dim in lengths]
        return tf.reduce_mean(tf.stack(each), axis=0)

    def _losses(self, vectors: tf.Tensor, texts: tf.Tensor | None, values: tf.Tensor | None) -> tf.Tensor:
        if values is not None:
            return (tf.reduce_sum(vectors[:, 0] * vectors[:, 1], axis=-1) - values) ** 2
        if self.kind == "triplet":
            near = tf.reduce_sum((vectors[:, 0] - vectors[:, 1]) ** 2, axis=-1)
            far = tf.reduce_sum((vectors[:, 0] - vectors[:, 2]) ** 2, axis=-1)
            return tf.nn.relu(near - far + self.margin)
        return contrastive_losses(vectors, texts, self.temperature)


def contrastive_losses(vectors: tf.Tensor, texts: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the cross-entropy of each row's own text among all texts of the batch that do not fit its query.

    A text of another row is left out where it may fit after all: where it equals the row's own text or the query, or
    where its row has the same query.

    Args:
        vectors: float `(rows, texts, dim)` on the unit sphere: query, fitting text, perhaps one that does not fit.
        texts: int `(rows, texts)`: equal numbers are equal texts.
        temperature: what the cosine similarities are divided by.

    Returns:
        float `(rows,)`.
    """
    queries, fitting = texts[:, :1], texts[:, 1:2]  # (rows, 1)
    candidates = tf.concat(tf.unstack(vectors[:, 1:], axis=1), axis=0)  # (candidates, dim), the fitting ones first
    numbers = tf.concat(tf.unstack(texts[:, 1:], axis=1), axis=0)  # (candidates,)
    scores = tf.matmul(vectors[:, 0], candidates, transpose_b=True) / temperature  # (rows, candidates)
    rows = tf.shape(vectors)[0]
    own = tf.eye(rows, tf.shape(numbers)[0], dtype=tf.bool)
    same_query = tf.equal(queries, tf.transpose(queries))
    same_query = tf.pad(same_query, [[0, 0], [0, tf.shape(numbers)[0] - rows]])
    may_fit = tf.equal(numbers[tf.newaxis], fitting) | tf.equal(numbers[tf.newaxis], queries) | same_query
    scores = tf.where(may_fit & ~own, tf.cast(_NEVER, scores.dtype), scores)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.range(rows), logits=scores)


def normalized(vectors: tf.Tensor) -> tf.Tensor:
    """Return the vectors with length 1 (L2), float32; a vector of zeros stays."""
    return tf.nn.l2_normalize(tf.cast(vectors, tf.float32), axis=-1, epsilon=1e-12)


def require_dim(dim: int, size: int) -> None:
    """Raise `ConfigError` unless a vector of a size can be cut to `dim` numbers."""
    if not 1 <= dim <= size:
        raise ConfigError(f"Expected a length from 1 to {size}, the size of the vectors. Received: {dim}.")
