import numpy as np

from tfllm.tasks.token_accuracy import TokenAccuracy

WRONG, RIGHT = [2.0, 1.0], [1.0, 2.0]
"""Logits of two classes, where the second one is right."""


def batch(rows, width):
    """Logits, targets and weights of rows that are padded to a width."""
    logits = np.array([row + [WRONG] * (width - len(row)) for row in rows], np.float32)
    weights = [[1.0] * len(row) + [0.0] * (width - len(row)) for row in rows]
    return np.ones(logits.shape[:2], np.int32), logits, np.array(weights, np.float32)


def test_each_token_counts_once_however_wide_its_batch_is():
    accuracy = TokenAccuracy()
    accuracy.update_state(*batch([[RIGHT, RIGHT]], width=2))
    accuracy.update_state(*batch([[WRONG, WRONG]], width=20))
    assert float(accuracy.result()) == 0.5  # Keras's own says 0.91
    accuracy.update_state(*batch([[RIGHT] * 4, [RIGHT]], width=6))
    assert abs(float(accuracy.result()) - 7 / 9) < 1e-6


def test_tokens_without_weights_and_single_answers():
    accuracy = TokenAccuracy()
    accuracy.update_state([[1, 1]], [[RIGHT, WRONG]])
    accuracy.update_state([1], [RIGHT], [2.0])
    assert float(accuracy.result()) == 0.75
