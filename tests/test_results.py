import dataclasses

import numpy as np
import pytest

from tfllm.errors import SignatureMismatch
from tfllm.results import Classification, results_from_outputs, results_to_frame


def outputs(kind):
    labels = {"bytes": np.array([b"good", "schlecht é".encode()], dtype=object), "fixed": np.array([b"good", b"bad"])}
    return {
        "label": labels.get(kind, np.array(["good", "bad"])),
        "score": np.array([0.75, 0.5], "float32"),
        "scores": np.array([[0.25, 0.75], [0.5, 0.5]], "float32"),
    }


@pytest.mark.parametrize(("kind", "second"), [("bytes", "schlecht é"), ("fixed", "bad"), ("text", "bad")])
def test_classifications_hold_plain_python_values(kind, second):
    first, other = results_from_outputs(outputs(kind))
    assert first == Classification("good", 0.75, (0.25, 0.75))
    assert other.label == second
    assert {type(first.label), type(first.score), type(first.scores[0])} == {str, float}


def test_further_outputs_do_not_matter():
    assert len(results_from_outputs({**outputs("text"), "logits": np.zeros((2, 2))})) == 2


def test_an_empty_batch_gives_no_results():
    empty = {"label": np.array([], object), "score": np.zeros(0), "scores": np.zeros((0, 2))}
    assert results_from_outputs(empty) == []


def test_a_label_that_is_not_utf8_is_still_shown():
    answer = {"label": np.array([b"\xff"]), "score": np.ones(1), "scores": np.ones((1, 2))}
    assert results_from_outputs(answer)[0].label == "\ufffd"


def test_unequal_lengths_are_not_cut():
    with pytest.raises(ValueError, match="zip"):
        results_from_outputs({**outputs("text"), "score": np.zeros(1)})


def test_outputs_of_no_known_task_are_named():
    with pytest.raises(SignatureMismatch, match=r"Received: \['logits', 'score'\]. Use the raw arrays"):
        results_from_outputs({"score": np.zeros(1), "logits": np.zeros((1, 2))})


def test_a_classification_is_short_to_read_and_cannot_change():
    result = Classification("good", 0.987654, (0.01, 0.99))
    assert repr(result) == "Classification(label='good', score=0.9877)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.label = "bad"


def test_results_to_frame():
    frame = results_to_frame(results_from_outputs(outputs("text")))
    assert frame["label"].tolist() == ["good", "bad"]
    assert frame["score"].tolist() == [0.75, 0.5]
    assert frame["scores"].tolist() == [(0.25, 0.75), (0.5, 0.5)]


def test_no_results_give_a_table_with_the_same_columns():
    assert list(results_to_frame([]).columns) == ["label", "score", "scores"]
