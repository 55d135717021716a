import numpy as np
import pytest

from tfllm.data.answers import answer_f1, best_threshold, exact_match, normalized_answer


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The Cat's Meow.", "cats meow"),
        ("a  an the\tx", "x"),
        ("U.S. $1,000", "us 1000"),
        ("another theory", "another theory"),
        ("“Größe”", "“größe”"),  # only ASCII punctuation goes
        ("well-known", "wellknown"),
        ("The", ""),
    ],
)
def test_normalization(text, normalized):
    assert normalized_answer(text) == normalized


@pytest.mark.parametrize(
    ("answer", "right", "exact", "f1"),
    [
        ("Denver Broncos", ["Denver Broncos", "The Denver Broncos"], 1, 1),
        ("the Broncos", ["Denver Broncos"], 0, 2 / 3),
        ("to to be", ["to be"], 0, 0.8),
        ("Paris", ["London", "Paris, France"], 0, 2 / 3),
        ("", [], 1, 1),
        ("", ["x"], 0, 0),
        ("x", [], 0, 0),
        ("the", ["x"], 0, 0),
        ("the", [], 1, 1),
        ("", ["the", "..."], 1, 1),  # a right answer of articles and punctuation alone is none
    ],
)
def test_scores(answer, right, exact, f1):
    assert exact_match(answer, right) == exact
    assert answer_f1(answer, right) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "right", "exact", "f1"),
    [
        ("Denver Broncos", ["Denver Broncos"], 1, 1),
        ("the Broncos", ["Denver Broncos"], 0, 2 / 3),
        (".", ["."], 1, 0),  # no word is there, so none is in common
        ("", ["the", "..."], 1, 0),
        ("x", ["...", "x y"], 0, 2 / 3),
    ],
)
def test_scores_where_all_questions_have_an_answer(answer, right, exact, f1):
    assert exact_match(answer, right, version=1) == exact
    assert answer_f1(answer, right, version=1) == pytest.approx(f1)


def test_the_threshold_is_the_best_of_all():
    generator = np.random.default_rng(0)
    right = [["x"] if generator.random() < 0.6 else [] for _ in range(60)]
    answers = ["x" if generator.random() < 0.7 else "y" for _ in right]
    margins = np.round(generator.normal(size=60) + [0 if golds else 1 for golds in right], 1)  # with ties

    def mean_f1(threshold):
        given = [answer if margin <= threshold else "" for answer, margin in zip(answers, margins, strict=True)]
        return np.mean([answer_f1(answer, golds) for answer, golds in zip(given, right, strict=True)])

    best = max(mean_f1(threshold) for threshold in [-99, *np.unique(margins) + 0.01, 99])
    assert mean_f1(best_threshold(answers, right, margins)) == pytest.approx(best)


def test_thresholds_at_the_ends():
    margins = np.array([1.0, 2.0])
    assert best_threshold(["x", "x"], [["x"], ["x"]], margins) > 2
    assert best_threshold(["x", "x"], [[], []], margins) < 1
