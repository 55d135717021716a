import sys

import numpy as np
import pytest

from tfllm.errors import ConfigError
from tfllm.search import vectors as module
from tfllm.search.vectors import ApproximateVectors, ExactVectors, best_of, unit_vectors


@pytest.fixture(scope="module")
def matrix():
    return unit_vectors(np.random.default_rng(0).normal(size=(2000, 16)))


def test_exact_search_in_blocks_is_a_full_sort(matrix, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * 2000 * 3)  # three queries at a time
    index = ExactVectors()
    for start in range(0, 2000, 700):
        index.add(matrix[start : start + 700])
    scores, rows = index.search(matrix[:10], 5)
    products = matrix[:10] @ matrix.T
    np.testing.assert_array_equal(rows, np.argsort(-products, axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :5], rtol=1e-6)


def test_approximate_search_finds_nearly_all(matrix):
    exact, approximate = ExactVectors(), ApproximateVectors()
    exact.add(matrix)
    approximate.add(matrix)
    want, got = exact.search(matrix[:100], 10), approximate.search(matrix[:100], 10)
    overlap = np.mean([len({*a} & {*b}) / 10 for a, b in zip(want[1], got[1], strict=True)])
    assert overlap > 0.95
    np.testing.assert_allclose(got[0][:, 0], 1.0, atol=1e-5)


def test_equal_scores_stay_in_order():
    scores = np.array([[0.5, 0.9, 0.5, 0.9, 0.1]], np.float32)
    assert best_of(scores, 3)[1].tolist() == [[1, 3, 0]]
    assert best_of(scores, 9)[1].tolist() == [[1, 3, 0, 2, 4]]


def test_unit_vectors_of_zeros():
    assert unit_vectors([[0, 0], [3, 4]]).tolist() == [[0, 0], [pytest.approx(0.6), pytest.approx(0.8)]]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"pip install 'tfllm\[search\]'"):
        ApproximateVectors()
