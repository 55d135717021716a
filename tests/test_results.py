import dataclasses
import pickle

import numpy as np
import pytest

from tfllm.results import Answer, Classification, Embedding, Entities, Entity


def test_a_classification_is_short_to_read_and_cannot_change():
    result = Classification("good", 0.987654, (0.01, 0.99))
    assert repr(result) == "Classification(label='good', score=0.9877)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.label = "bad"


def test_entities_are_a_tuple_that_survives_pickling():
    found = Entities([Entity("city", "Paris", 3, 8, 0.5)], text="In Paris")
    again = pickle.loads(pickle.dumps(found))
    assert again == found == (Entity("city", "Paris", 3, 8, 0.5),)
    assert again.text == "In Paris"


def test_an_answer_is_equal_whether_its_context_is_known_or_not():
    assert Answer("x", 0, 1, 0.5, context="x y") == Answer("x", 0, 1, 0.5)


def test_embeddings_are_arrays():
    first, second = Embedding(np.array([1, 2, 3, 4], "float32")), Embedding(np.array([1, 2, 3, 5], "float32"))
    assert first != second and first == Embedding(first.vector.copy())
    assert np.asarray([first, second]).shape == (2, 4)
    assert np.array(first, dtype="float64").dtype == np.float64
    assert repr(first) == "Embedding(dim=4, [1.0000, 2.0000, 3.0000, ...])"
