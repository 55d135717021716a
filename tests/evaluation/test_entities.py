import random

import pandas as pd
import pytest
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from tfllm.data.schema import TextDataset
from tfllm.data.tags import tags_to_entities
from tfllm.evaluation.entities import entity_metrics, entity_scores
from tfllm.evaluation.judging import evaluate
from tfllm.results import Entities, Entity

TYPES = ("city", "creative-work", "person")


def random_tags(generator, length):
    tags, before = [], "O"
    for _ in range(length):
        choices = ["O", "O", *(f"B-{kind}" for kind in TYPES)]
        if before != "O":
            choices += [f"I-{before[2:]}"] * 4
        before = generator.choice(choices)
        tags.append(before)
    return tags


def spans(rows):
    return [tags_to_entities(tags, [(2 * n, 2 * n + 1) for n in range(len(tags))]) for tags in rows]


def test_strict_scores_equal_those_of_seqeval():
    generator = random.Random(0)
    lengths = [generator.randrange(0, 12) for _ in range(200)]
    expected = [random_tags(generator, length) for length in lengths]
    predicted = [
        tags if generator.random() < 0.6 else random_tags(generator, length)
        for tags, length in zip(expected, lengths, strict=True)
    ]
    values = dict(entity_metrics(spans(expected), spans(predicted)))
    strict = {"mode": "strict", "scheme": IOB2}
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert values[name] == pytest.approx(score(expected, predicted, **strict))
    assert 0.2 < values["f1"] < 0.95
    table = classification_report(expected, predicted, output_dict=True, **strict)
    assert values["macro_f1"] == pytest.approx(table["macro avg"]["f1-score"])
    for kind, scores in entity_scores(spans(expected), spans(predicted)).items():
        theirs = table[kind]
        assert scores == pytest.approx(
            {
                "precision": theirs["precision"],
                "recall": theirs["recall"],
                "f1": theirs["f1-score"],
                "support": theirs["support"],
            }
        )


def test_nothing_found_and_nothing_to_find():
    assert dict(entity_metrics([[]], [[]])) == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "macro_f1": 0.0,
        "exact_match": 1.0,
    }
    assert dict(entity_metrics([[(0, 1, "x")]], [[]]))["f1"] == 0.0


def test_the_report_lists_types_and_mistakes():
    frame = pd.DataFrame({"text": ["In Paris", "Anna"], "label": [[(3, 8, "city")], [(0, 4, "person")]]})
    data = TextDataset(frame, label_kind="entities")
    found = [Entities([Entity("person", "Paris", 3, 8, 0.9)]), Entities([Entity("person", "Anna", 0, 4, 0.9)])]
    report = evaluate(lambda texts: found, data)
    assert report.metrics["f1"] == 0.5
    assert report.metrics["exact_match"] == 0.5
    assert report.mistakes == [
        {"text": "In Paris", "expected": "Paris (city)", "predicted": "Paris (person)", "wrong": 2}
    ]
    assert "creative" not in report.to_html() and "person" in report.to_markdown()
