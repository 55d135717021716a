import numpy as np
import pytest
from sklearn.metrics import f1_score

from tfllm.tasks.thresholds import best_f1_thresholds, best_rejection_threshold


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_has_a_better_f1(seed):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 8, (30, 3)) / 8  # with many ties
    expected = (generator.random((30, 3)) < 0.3).astype(int)
    for label, threshold in enumerate(best_f1_thresholds(scores, expected)):
        f1 = f1_score(expected[:, label], scores[:, label] >= threshold)
        others = [f1_score(expected[:, label], scores[:, label] >= t) for t in np.linspace(0, 1, 50)]
        assert f1 >= max(others) - 1e-9


def test_a_label_that_no_row_has():
    assert best_f1_thresholds(np.array([[0.9], [0.1]]), np.array([[0], [0]])) == [0.5]


@pytest.mark.parametrize("balanced", [False, True])
def test_no_other_score_rejects_better(balanced):
    generator = np.random.default_rng(0)
    score = generator.integers(0, 20, 60) / 20
    outside = generator.random(60) < 0.2
    right = ~outside & (generator.random(60) < 0.8)

    def worth(threshold):
        kept, rejected = right & (score >= threshold), outside & (score < threshold)
        if balanced:
            return kept.sum() / (~outside).sum() + rejected.sum() / outside.sum()
        return kept.sum() + rejected.sum()

    chosen = best_rejection_threshold(score, right, outside, balanced=balanced)
    assert worth(chosen) >= max(worth(threshold) for threshold in np.linspace(0, 1, 101)) - 1e-9
