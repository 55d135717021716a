import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES, micro_tokenizer

from tfllm.errors import ConfigError
from tfllm.tasks.masking import Masking
from tfllm.tasks.token_names import token_names, word_beginnings

PAD, START, END, MASK, FIRST = 0, 1, 2, 3, 4
SIZE = 100
BEGINS = tuple(index % 3 != 0 for index in range(SIZE))  # every third id goes on with a word


def rows_of(count, width=40, seed=0):
    """Rows of words of one or more tokens between the special ones."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(FIRST, SIZE, (count, width)).astype(np.int32)
    ids[:, 0], ids[:, -1] = START, END
    return {"token_ids": tf.constant(ids), "padding_mask": tf.ones_like(ids)}


def seeds_of(count):
    return tf.constant([[7, row] for row in range(count)], tf.int64)


def mask(tokens, **settings):
    masking = Masking(BEGINS, (PAD, START, END, MASK), MASK, **settings)
    return [
        {name: value.numpy() for name, value in part.items()} if isinstance(part, dict) else part.numpy()
        for part in masking(tokens, seeds_of(len(tokens["token_ids"])))
    ]


def test_the_shares_are_those_of_the_paper():
    tokens = rows_of(2000)
    before = tokens["token_ids"].numpy()
    masked, labels, weights = mask(tokens)
    chosen = weights.sum()
    assert chosen / (before.shape[0] * (before.shape[1] - 2)) == pytest.approx(0.15, abs=0.02)
    now = np.take_along_axis(masked["token_ids"], masked["mask_positions"], axis=1)[weights > 0]
    was = labels[weights > 0]
    assert (now == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (now == was).mean() == pytest.approx(0.1, abs=0.02)
    assert ((now != MASK) & (now != was)).mean() == pytest.approx(0.1, abs=0.02)


def test_labels_are_what_stood_there_and_nothing_else_changes():
    tokens = rows_of(50)
    before = tokens["token_ids"].numpy()
    masked, labels, weights = mask(tokens)
    for row in range(50):
        positions = masked["mask_positions"][row][weights[row] > 0]
        assert len(set(positions)) == len(positions) and positions.min() > 0
        np.testing.assert_array_equal(before[row][positions], labels[row][weights[row] > 0])
        rest = np.setdiff1d(np.arange(before.shape[1]), positions)
        np.testing.assert_array_equal(masked["token_ids"][row][rest], before[row][rest])


def words_partly_chosen(tokens, masked, weights):
    partly = 0
    for row, ids in enumerate(tokens["token_ids"].numpy()):
        chosen = set(masked["mask_positions"][row][weights[row] > 0].tolist())
        inside = [place for place in range(2, len(ids) - 1) if not BEGINS[ids[place]]]
        partly += sum((place in chosen) != (place - 1 in chosen) for place in inside)
    return partly


def test_words_are_masked_as_a_whole():
    tokens = rows_of(100)
    masked, _, weights = mask(tokens)
    assert words_partly_chosen(tokens, masked, weights) == 0
    masked, _, weights = mask(tokens, whole_words=False)
    assert words_partly_chosen(tokens, masked, weights) > 100


def test_a_row_is_masked_by_its_seed_alone():
    tokens = rows_of(8)
    masking = Masking(BEGINS, (PAD, START, END, MASK), MASK)
    together = masking(tokens, seeds_of(8))[0]["token_ids"].numpy()
    for row in range(8):
        alone = {name: value[row : row + 1] for name, value in tokens.items()}
        found = masking(alone, seeds_of(8)[row : row + 1])[0]["token_ids"].numpy()[0]
        np.testing.assert_array_equal(found, together[row])
    other = masking(tokens, seeds_of(8) + 100)[0]["token_ids"].numpy()
    assert (other != together).any(axis=1).all()


def test_a_wider_batch_masks_a_row_in_the_same_way():
    tokens = rows_of(8)
    wide = {name: tf.pad(value, [[0, 0], [0, 11]]) for name, value in tokens.items()}
    (narrow, *found), (wider, *same) = mask(tokens), mask(wide)
    np.testing.assert_array_equal(wider["token_ids"][:, :40], narrow["token_ids"])
    for one, other in zip(found, same, strict=True):
        np.testing.assert_array_equal(one, other)


def test_short_rows_and_padding():
    ids = np.array([[START, 5, END, PAD], [START, END, PAD, PAD], [START, 4, 5, END]], np.int32)
    tokens = {"token_ids": tf.constant(ids), "padding_mask": tf.constant((ids != PAD).astype(np.int32))}
    masked, labels, weights = mask(tokens)
    assert weights.sum(axis=1).tolist() == [1, 0, 1]
    assert labels[0, 0] == 5
    assert masked["mask_positions"][1].max() == 0


def test_a_rate_that_is_none():
    with pytest.raises(ConfigError, match="mask_rate=1"):
        Masking(BEGINS, (PAD,), MASK, rate=1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_have_names_and_words_have_beginnings(family):
    tokenizer = micro_tokenizer(family)
    names, begins = token_names(tokenizer), word_beginnings(tokenizer)
    assert len(names) == len(begins) == tokenizer.vocabulary_size()
    assert all(names)
    pieces = [str(tokenizer.id_to_token(index)) for index in range(len(names))]
    the = next(piece for piece in ("▁the", "Ġthe", "the") if piece in pieces)
    assert names[pieces.index(the)] == "the"
    assert begins[pieces.index(the)]
    within = next(i for i, piece in enumerate(pieces) if piece in ("e", "##e"))
    assert begins[within] == (family in ("bert", "distil_bert", "electra") and pieces[within] == "e")
