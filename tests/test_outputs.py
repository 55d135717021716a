import numpy as np
import pytest

from tfllm.errors import SignatureMismatch
from tfllm.outputs import columns_from_outputs, results_from_outputs, results_to_frame
from tfllm.results import (
    Answer,
    Classification,
    Embedding,
    Entities,
    Entity,
    FilledMask,
    MultiLabel,
    Regression,
    Relevance,
)


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


def test_the_columns_are_known_from_the_names_of_the_outputs():
    found = outputs("text")
    assert list(results_to_frame(results_from_outputs(found)).columns) == list(columns_from_outputs(found.keys()))
    assert columns_from_outputs({"score"}) == ("score",)
    assert columns_from_outputs({"embedding", "logits"}) == ("embedding",)
    with pytest.raises(SignatureMismatch):
        columns_from_outputs({"score", "logits"})


def test_results_to_frame():
    frame = results_to_frame(results_from_outputs(outputs("text")))
    assert frame["label"].tolist() == ["good", "bad"]
    assert frame["score"].tolist() == [0.75, 0.5]
    assert frame["scores"].tolist() == [(0.25, 0.75), (0.5, 0.5)]


def test_no_results_give_a_table_with_the_same_columns():
    assert list(results_to_frame([]).columns) == ["label", "score", "scores"]


def test_many_labels_keep_only_those_predicted():
    answer = {"labels": np.array([[b"a", b""], [b"", b""]]), "scores": np.full((2, 2), 0.5), "count": np.array([1, 0])}
    assert results_from_outputs(answer) == [MultiLabel(("a",), (0.5, 0.5)), MultiLabel((), (0.5, 0.5))]


def test_entities_end_at_their_count_and_know_their_text():
    answer = {
        "entity": np.array([[b"city", b""]]),
        "word": np.array([[b"Paris", b""]]),
        "start": np.array([[3, 0]], "int32"),
        "end": np.array([[8, 0]], "int32"),
        "score": np.array([[0.5, 0.0]], "float32"),
        "count": np.array([1], "int32"),
    }
    (found,) = results_from_outputs(answer, {"text": [b"In Paris"]})
    assert found == (Entity("city", "Paris", 3, 8, 0.5),)
    assert isinstance(found, Entities) and found.text == "In Paris"
    assert results_from_outputs(answer)[0].text is None


def test_answers_and_numbers():
    answer = {"answer": np.array([b"x"]), "start": np.array([2]), "end": np.array([3]), "score": np.array([0.5])}
    (found,) = results_from_outputs(answer, {"question": ["?"], "context": ["a x"]})
    assert found == Answer("x", 2, 3, 0.5) and found.context == "a x"
    assert results_from_outputs({"value": np.array([2.5])}) == [Regression(2.5)]
    assert results_from_outputs({"score": np.array([0.5])}) == [Relevance(0.5)]
    assert results_from_outputs({"embedding": np.ones((1, 3))}) == [Embedding(np.ones(3, "float32"))]


def test_masks_are_as_many_as_the_text_has():
    answer = {"token": np.array([[[b"a", b"b"], [b"", b""]]]), "score": np.full((1, 2, 2), 0.5)}
    assert results_from_outputs(answer) == [(FilledMask(("a", "b"), (0.5, 0.5)),)]


def test_every_kind_of_result_makes_a_table():
    entity = Entity("city", "Paris", 0, 5, 0.5)
    assert results_to_frame([Entities([entity])])["entities"][0][0]["word"] == "Paris"
    assert list(results_to_frame([Answer("x", 0, 1, 0.5, context="x")]).columns) == ["answer", "start", "end", "score"]
    assert results_to_frame([Embedding(np.ones(3, "float32"))])["embedding"][0].shape == (3,)
    assert results_to_frame([(FilledMask(("a",), (0.5,)),)])["masks"][0] == [{"tokens": ("a",), "scores": (0.5,)}]
    assert results_to_frame([Regression(1.5)])["value"].tolist() == [1.5]
