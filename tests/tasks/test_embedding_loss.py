import numpy as np
import pytest
import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.tasks.embedding_loss import EmbeddingLoss, contrastive_losses, normalized

VECTORS = normalized(np.random.default_rng(0).normal(size=(3, 3, 4))).numpy()  # (rows, texts, dim)


def cross_entropy(query, candidates, own):
    scores = candidates @ query / 0.05
    return float(np.log(np.exp(scores).sum()) - scores[own])


def test_every_text_of_other_rows_is_a_negative():
    numbers = tf.reshape(tf.range(6), (3, 2))
    losses = contrastive_losses(tf.constant(VECTORS[:, :2]), numbers, 0.05)
    expected = [cross_entropy(VECTORS[row, 0], VECTORS[:, 1], row) for row in range(3)]
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-5)


def test_hard_negatives_of_all_rows_count():
    numbers = tf.reshape(tf.range(9), (3, 3))
    losses = contrastive_losses(tf.constant(VECTORS), numbers, 0.05)
    candidates = np.concatenate([VECTORS[:, 1], VECTORS[:, 2]])
    expected = [cross_entropy(VECTORS[row, 0], candidates, row) for row in range(3)]
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("numbers", "left_out"),
    [
        ([[0, 1], [2, 1], [3, 4]], {0: [1], 1: [0]}),  # rows 0 and 1 have the same fitting text
        ([[0, 1], [0, 2], [3, 4]], {0: [1], 1: [0]}),  # ... the same query
        ([[0, 1], [1, 0], [3, 4]], {0: [1], 1: [0]}),  # ... each other's text as their query
    ],
)
def test_a_text_that_may_fit_is_no_negative(numbers, left_out):
    losses = contrastive_losses(tf.constant(VECTORS[:, :2]), tf.constant(numbers), 0.05)
    for row in range(3):
        kept = [other for other in range(3) if other not in left_out.get(row, [])]
        expected = cross_entropy(VECTORS[row, 0], VECTORS[kept, 1], kept.index(row))
        np.testing.assert_allclose(losses[row], expected, rtol=1e-3, atol=1e-5)


def test_similarities_are_learnt_by_squared_error():
    losses = EmbeddingLoss().losses(tf.constant(5 * VECTORS[:, :2]), texts=None, values=tf.constant([0.0, 0.5, 1.0]))
    cosines = (VECTORS[:, 0] * VECTORS[:, 1]).sum(axis=1)
    np.testing.assert_allclose(losses, (cosines - [0, 0.5, 1]) ** 2, atol=1e-5)


def test_triplets():
    losses = EmbeddingLoss("triplet", margin=0.3).losses(
        tf.constant(VECTORS), texts=tf.reshape(tf.range(9), (3, 3)), values=None
    )
    near, far = (((VECTORS[:, 0] - VECTORS[:, place]) ** 2).sum(axis=1) for place in (1, 2))
    np.testing.assert_allclose(losses, np.maximum(near - far + 0.3, 0), atol=1e-5)


def test_shorter_lengths_are_averaged():
    numbers = tf.reshape(tf.range(6), (3, 2))
    both = EmbeddingLoss(dims=(2,)).losses(tf.constant(VECTORS[:, :2]), texts=numbers, values=None)
    short = contrastive_losses(normalized(VECTORS[:, :2, :2]), numbers, 0.05)
    whole = contrastive_losses(tf.constant(VECTORS[:, :2]), numbers, 0.05)
    np.testing.assert_allclose(both, (short + whole) / 2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("settings", [{"kind": "infonce"}, {"temperature": 0.0}, {"margin": -1.0}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(ConfigError, match="Received"):
        EmbeddingLoss(**settings)
