"""The scores that the benchmarks compute themselves."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "understanding.py"


@pytest.fixture(scope="module")
def understanding():
    spec = importlib.util.spec_from_file_location("understanding", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_official_score_of_relations_counts_both_directions_together(understanding):
    target = np.array(["Cause(e1,e2)", "Cause(e1,e2)", "Cause(e2,e1)", "Part(e1,e2)", "Other"], object)
    answers = np.array(["Cause(e1,e2)", "Cause(e2,e1)", "Other", "Part(e1,e2)", "Part(e2,e1)"], object)
    scores = understanding.semeval_scores(target, answers)
    cause = 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)  # one of two answers is right, one of three rows is found
    part = 2 * (1 / 2) * 1 / (1 / 2 + 1)
    assert scores["macro_f1"] == pytest.approx((cause + part) / 2)
    assert scores["accuracy"] == pytest.approx(2 / 5)


def test_the_directed_score_is_the_mean_over_directed_labels(understanding):
    labels = np.array([f"{name}(e{n},e{3 - n})" for name in ("Cause", "Part", "Made") for n in (1, 2)] + ["Other"])
    generator = np.random.default_rng(0)
    target, answers = generator.choice(labels, 200), generator.choice(labels, 200)
    expected = f1_score(target, answers, labels=labels[:-1], average="macro")
    assert understanding.semeval_scores(target, answers)["directed_macro_f1"] == pytest.approx(expected)
