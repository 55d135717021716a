import numpy as np
import pytest

from tfllm.errors import FailedPrecondition, InvalidInput
from tfllm.server.batch_arrays import batch_rows, inner_shapes, join, merge, row_tokens, split


def texts(*values):
    return np.array(values, object)


def test_rows_of_a_request():
    assert batch_rows([np.zeros((3, 2)), np.zeros(3)]) == 3
    with pytest.raises(InvalidInput, match="must have at least one dimension"):
        batch_rows([np.zeros(3), np.float64(1)])
    with pytest.raises(InvalidInput, match="must have equal 0th-dimension size"):
        batch_rows([np.zeros(3), np.zeros(2)])


def test_merge_and_split_are_inverse():
    one, two = [texts(b"a", b"b"), np.array([[1.0], [2.0]])], [texts(b"c"), np.array([[3.0]])]
    merged = merge([one, two], 3, padded=False)
    assert merged[0].tolist() == [b"a", b"b", b"c"]
    parts = split(merged, [2, 1], 3)
    for part, original in zip(parts, (one, two), strict=True):
        for array, before in zip(part, original, strict=True):
            np.testing.assert_array_equal(array, before)


def test_a_batch_is_filled_up_with_the_first_row_of_the_last_request():
    merged = merge([[np.array([1, 2])], [np.array([3, 4])]], 8, padded=False)
    assert merged[0].tolist() == [1, 2, 3, 4, 3, 3, 3, 3]
    assert [part[0].tolist() for part in split(merged, [2, 2], 8)] == [[1, 2], [3, 4]]


def test_inner_dimensions_are_padded_with_the_first_value():
    (merged,) = merge([[np.array([[7, 8]])], [np.array([[9, 9, 9, 9]])]], 2, padded=True)
    assert merged.tolist() == [[7, 8, 7, 7], [9, 9, 9, 9]]


def test_outputs_that_cannot_be_split():
    with pytest.raises(FailedPrecondition, match="^Batched output tensor has 0 dimensions"):
        split([np.float32(1)], [1], 1)
    with pytest.raises(FailedPrecondition, match="0th dimension does not equal the sum"):
        split([np.zeros(1)], [1, 1], 2)


def test_who_may_share_a_batch():
    short, long = [np.zeros((1, 2))], [np.zeros((1, 5))]
    assert inner_shapes(short, padded=False) != inner_shapes(long, padded=False)
    assert inner_shapes(short, padded=True) == inner_shapes(long, padded=True)
    assert inner_shapes([np.zeros(1, "f4")], padded=True) != inner_shapes([np.zeros(1, "f8")], padded=True)


def test_tokens_of_the_longest_row():
    assert row_tokens([texts(b"x" * 40, b"x")], None) == 12
    assert row_tokens([texts(b"x" * 40), texts(b"x" * 40)], None) == 22
    assert row_tokens([texts(b"x" * 4000)], 128) == 128
    assert row_tokens([np.zeros((2, 17), np.int32)], None) == 17
    assert row_tokens([np.zeros(4, np.float32)], None) == 1
    assert row_tokens([texts()], None) == 2


def test_parts_that_found_more_or_less_are_joined():
    words = [np.array([[b"Rome", b"May"]], object), np.array([[], []], object).reshape(2, 0)]
    starts = [np.int32([[3, 11]]), np.zeros((2, 0), np.int32)]
    word, start, count = join([[words[0], starts[0], np.int32([2])], [words[1], starts[1], np.int32([0, 0])]])
    assert word.tolist() == [[b"Rome", b"May"], [b"", b""], [b"", b""]]
    assert start.tolist() == [[3, 11], [0, 0], [0, 0]] and start.dtype == np.int32
    assert count.tolist() == [2, 0, 0]
