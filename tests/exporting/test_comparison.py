"""What counts as the same answer in an export's proof."""

import numpy as np
import pytest
import tensorflow as tf
from kinds import make

from tfllm.exporting.comparison import compare
from tfllm.exporting.ties import _tied_candidates
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.tasks.text_regressor import TextRegressor

TEXT = ("serving_default", {"text": np.array([b"a"], object)})


@pytest.fixture(scope="module")
def classifier():
    return make("one_label", "bert")


def labelled(label, *scores):
    return {"label": np.array([label], object), "scores": np.array([scores], "float32")}


def test_a_wrong_label(classifier):
    want = labelled(b"good", 0.2, 0.8)
    found = compare(classifier, TEXT, want, labelled(b"bad", 0.2, 0.8), 1e-4)
    assert found.wrong == 1 and not found.same.any() and found.difference == 0.0
    assert compare(classifier, TEXT, want, want, 1e-4).wrong == 0
    assert np.isnan(compare(classifier, TEXT, want, labelled(b"good", np.nan, np.nan), 1e-4).difference)
    for other in ({"scores": want["scores"]}, {**want, "scores": np.float32([[0.2, 0.8]] * 2)}):
        assert compare(classifier, TEXT, want, other, 1e-4).difference == float("inf")


def test_rounding_may_decide_between_labels_whose_scores_tie(classifier):
    found = compare(classifier, TEXT, labelled(b"good", 0.49999, 0.50001), labelled(b"bad", 0.5, 0.5), 1e-4)
    assert found.wrong == 0 and not found.same.any()


def test_rounding_may_decide_what_is_out_of_scope():
    model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"], out_of_scope=("other", 0.7))
    assert compare(model, TEXT, labelled(b"good", 0.3, 0.7), labelled(b"other", 0.3, 0.7), 1e-4).wrong == 0
    assert compare(model, TEXT, labelled(b"good", 0.2, 0.8), labelled(b"other", 0.2, 0.8), 1e-4).wrong == 1


def test_a_label_that_is_none_of_those_that_tie():
    model = TextClassifier.from_preset("micro_bert", labels=["a", "b", "c"])
    want = labelled(b"a", 0.45, 0.45, 0.1)
    assert compare(model, TEXT, want, labelled(b"b", 0.45, 0.45, 0.1), 1e-4).wrong == 0
    assert compare(model, TEXT, want, labelled(b"c", 0.45, 0.45, 0.1), 1e-4).wrong == 1


def test_rounding_may_decide_a_label_whose_score_is_at_its_threshold():
    model = TextClassifier.from_preset(
        "micro_bert", labels=["a", "b", "c"], multi_label=True, thresholds=[0.5, 0.3, 0.5]
    )

    def chosen(*labels):
        return {
            "scores": np.float32([[0.9, 0.3, 0.1]]),
            "labels": np.array([labels], object),
            "count": np.int32([sum(map(bool, labels))]),
        }

    assert compare(model, TEXT, chosen(b"a", b"b", b""), chosen(b"a", b"", b""), 1e-4).wrong == 0
    assert compare(model, TEXT, chosen(b"a", b"b", b""), chosen(b"", b"b", b""), 1e-4).wrong == 1


def answered(answer, start, end, score=0.5):
    return {
        "answer": np.array([answer], object),
        "start": np.int32([start]),
        "end": np.int32([end]),
        "score": np.float32([score]),
    }


def test_an_answer_may_move_to_equal_words_but_not_off_them():
    model = make("answers", "bert")
    request = (
        "serving_default",
        {"question": np.array([b"q"], object), "context": np.array([b"red or red, o"], object)},
    )
    want = answered(b"red", 0, 3)
    moved = compare(model, request, want, answered(b"red", 7, 10), 1e-4)
    assert moved.wrong == 0 and moved.difference == 0.0 and not moved.same.any()
    assert compare(model, request, want, answered(b"red", 6, 9), 1e-4).wrong == 1  # not where it says
    assert compare(model, request, want, answered(b"or", 4, 6, 0.49), 1e-4).wrong == 1
    assert compare(model, request, want, answered(b"or", 4, 6, 0.49), 2e-2).wrong == 0  # a tie, of a short precision


def test_rounding_may_decide_whether_there_is_an_answer():
    model = make("answers", "bert")
    texts = {"question": np.array([b"who?"], object), "context": np.array([b"Ana was good"], object)}
    (margin,) = model.no_answer_margins(*map(tf.constant, texts.values())).numpy()
    for no_answer, wrong in ((float(margin), 0), (float(margin) + 1.0, 1)):
        model.no_answer = no_answer
        found = compare(model, ("serving_default", texts), answered(b"Ana", 0, 3), answered(b"", 0, 0, 0.1), 1e-3)
        assert found.wrong == wrong and (found.difference == 0.0) == (not wrong)


def entities(*found):
    rows = list(zip(*found, strict=True)) if found else [(), (), (), (), ()]
    kinds = {"entity": object, "word": object, "start": "int32", "end": "int32", "score": "float32"}
    outputs = {name: np.array([row], kind) for (name, kind), row in zip(kinds.items(), rows, strict=True)}
    return {**outputs, "count": np.int32([len(found)])}


def test_rounding_may_decide_entities_at_words_whose_tag_is_open_and_no_others():
    model, text = make("entities", "bert"), "a good film"
    request = ("serving_default", {"text": np.array([text.encode()], object)})
    words, scores = model.word_scores(lambda tokens: model(tokens, training=False), tf.constant([text]))
    best = tf.math.top_k(scores, 2).values.numpy()
    margins = best[:, 0] - best[:, 1]
    first, second, *_ = np.sort(margins)
    assert 0 < first < second
    tolerance = (first + second) / 4  # twice of which is between the two
    places = list(zip(*(part.flat_values.numpy().tolist() for part in (words.starts, words.ends)), strict=True))
    found = [(b"city", text[start:end].encode(), start, end, 0.9) for start, end in places]
    for word, entity in enumerate(found):
        fine = word == margins.argmin()
        for want, got in ((entities(), entities(entity)), (entities(entity), entities())):
            compared = compare(model, request, want, got, tolerance)
            assert compared.wrong == (not fine) and (compared.difference == 0.0) == fine
    least = int(margins.argmin())
    both = compare(model, request, entities(), entities(*found), tolerance)
    assert both.wrong == 1 and compare(model, request, entities(*found), entities(*found), tolerance).wrong == 0
    start, end = places[0][0], places[-1][1]
    whole = (b"city", text.encode(), start, end, 0.9)  # of one entity an open word makes two, or the other way round
    parts = [entity for word, entity in enumerate(found) if word != least]
    assert compare(model, request, entities(whole), entities(*parts), tolerance).wrong == 0


def test_numbers_are_compared_as_shares_of_their_range():
    model = TextRegressor.from_preset("micro_bert", value_range=(0, 500_000))
    want, got = {"value": np.float32([250_000])}, {"value": np.float32([250_000.5])}
    assert compare(model, TEXT, want, got, 1e-4).difference == pytest.approx(1e-6)


def masked(tokens, scores):
    return {"token": np.array([[tokens]], object), "score": np.array([[scores]], "float32")}


def test_candidates_may_change_places_only_where_they_tie():
    want = masked([b"a", b"b", b"c"], [0.5, 0.499999, 0.1])
    for tokens, same in (((b"b", b"a", b"c"), True), ((b"a", b"c", b"b"), False), ((b"x", b"b", b"c"), False)):
        assert _tied_candidates(want, masked(tokens, [0.5, 0.499999, 0.1]), 1e-4).tolist() == [same], tokens
    clear = masked([b"a", b"b", b"c"], [0.6, 0.3, 0.1])
    assert _tied_candidates(clear, masked([b"a", b"b", b"d"], [0.6, 0.3, 0.1]), 1e-4).tolist() == [True]
    assert _tied_candidates(clear, masked([b"b", b"a", b"c"], [0.6, 0.3, 0.1]), 1e-4).tolist() == [False]
