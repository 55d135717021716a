import numpy as np
import pytest

from tfllm.errors import ConfigError
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.sentence_pairs import pair_rows

ROWS = np.arange(400).reshape(50, 8)
OTHERS = ROWS + 1000
SEEDS = np.stack([np.zeros(50, np.int64), np.arange(50)], axis=1)


def test_wrong_order_is_swapped_halves():
    rows, right = pair_rows(ROWS, OTHERS, SEEDS, "order")
    assert 15 < right.sum() < 35
    np.testing.assert_array_equal(rows[right == 1], ROWS[right == 1])
    np.testing.assert_array_equal(rows[right == 0], np.roll(ROWS[right == 0], 4, axis=1))


def test_a_wrong_next_piece_comes_from_elsewhere():
    rows, right = pair_rows(ROWS, OTHERS, SEEDS, "next")
    np.testing.assert_array_equal(rows[:, :4], ROWS[:, :4])
    np.testing.assert_array_equal(rows[right == 1], ROWS[right == 1])
    np.testing.assert_array_equal(rows[right == 0][:, 4:], OTHERS[right == 0][:, 4:])


def test_a_row_is_drawn_by_its_seed_alone():
    _, right = pair_rows(ROWS, OTHERS, SEEDS, "order")
    for row in range(50):
        assert pair_rows(ROWS[row : row + 1], OTHERS[:1], SEEDS[row : row + 1], "order")[1] == right[row]


def test_a_head_that_is_none():
    with pytest.raises(ConfigError, match="sentence_head='nxt'"):
        MaskedLM.from_preset("micro_bert", sentence_head="nxt")
