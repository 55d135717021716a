import json

import numpy as np
import pandas as pd
import pytest

from tfllm.data.sources import load_dataset
from tfllm.data.targets import read_target
from tfllm.errors import BadRow, ConfigError, DataError

TEXT = "In Paris"


@pytest.mark.parametrize(
    ("kind", "cell", "target"),
    [
        ("label", 5, "5"),
        ("labels", "a | b", ["a", "b"]),
        ("labels", "", []),
        ("labels", '["a|b", 2]', ["a|b", "2"]),
        ("labels", np.array(["a"]), ["a"]),
        ("value", "2.5", 2.5),
        ("value", np.float32(2.5), 2.5),
        ("entities", [[3, 8, "city"], {"start": 0, "end": 2, "entity": "word"}], [(0, 2, "word"), (3, 8, "city")]),
        ("entities", "[]", []),
        ("answers", '[{"start": 3, "end": 8}, [0, 2]]', [(3, 8), (0, 2)]),
    ],
)
def test_cells_of_every_kind(kind, cell, target):
    assert read_target(kind, cell, TEXT) == target


@pytest.mark.parametrize(
    ("kind", "cell", "problem"),
    [
        ("label", " ", "no value"),
        ("labels", "a||b", "no value"),
        ("labels", 3, "3 instead of a list"),
        ("labels", "[1", "JSON"),
        ("value", "high", "'high' instead of a number"),
        ("value", "nan", "finite"),
        ("value", None, "instead of a number"),
        ("entities", [[3, 9, "city"]], "outside of a text of 8"),
        ("entities", [[3, 3, "city"]], "outside"),
        ("entities", [[0, 4, "x"], [3, 8, "y"]], "overlap"),
        ("entities", [[3, 8]], "instead of \\[start, end, entity\\]"),
        ("entities", [[3.0, 8, "x"]], "whole numbers"),
        ("answers", [{"start": 1}], "instead of \\[start, end\\]"),
        ("labels", ["a", None], "no value"),
        ("labels", ["a", float("nan")], "no value"),
        ("labels", '["a", null]', "no value"),
        ("labels", ["a", ["b"]], "a list instead of one value"),
        ("entities", [[3, 8, ["city"]]], "a list instead of one value"),
        ("entities", [[3, 8, float("nan")]], "no value"),
        ("entities", " ", "write \\[\\] for none"),
        ("entities", None, "write \\[\\] for none"),
        ("answers", "", "write \\[\\] for none"),
        ("entities", "[" * 100_000, "instead of a JSON list"),
        ("answers", '{"text": ' * 100_000, "instead of a JSON list"),
        ("answers", {"text": ["In"], "answer_start": 0}, "two lists of one length"),
        ("answers", {"text": "In", "answer_start": [0]}, "two lists of one length"),
        ("answers", {"text": ["In", "Paris"], "answer_start": [0]}, "two lists of one length"),
        ("answers", [{"text": "In", "answer_start": np.float64(0.0)}], "answer_start .*0.0"),
        ("answers", [{"text": "In", "answer_start": True}], "answer_start True"),
    ],
)
def test_what_a_cell_cannot_be(kind, cell, problem):
    with pytest.raises(ValueError, match=problem):
        read_target(kind, cell, TEXT)


def test_spans_of_answers_point_into_the_context(tmp_path):
    file = tmp_path / "qa.jsonl"
    file.write_text(json.dumps({"q": "?", "c": TEXT, "a": [[3, 8]]}) + "\n" + json.dumps({"q": "?", "c": "x", "a": []}))
    data = load_dataset(file, text="q", text_pair="c", label="a", label_kind="answers")
    assert data.targets == [[(3, 8)], []]
    assert data.label_kind == "answers" and data.split(0.5)[0].label_kind == "answers"
    other = load_dataset(pd.DataFrame({"q": ["?"] * 2, "c": [TEXT, "x"], "a": [[(3, 7)], []]}), text="q", text_pair="c",
                         label="a", label_kind="answers")  # fmt: skip
    assert other.fingerprint != data.fingerprint
    with pytest.raises(DataError, match="loaded with answers"):
        data.label_values  # noqa: B018


def test_a_bad_row_names_its_line(tmp_path):
    file = tmp_path / "values.csv"
    file.write_text("text,value\na,1\nb,much\n")
    with pytest.raises(BadRow, match="line 3: 'much' instead of a number in column 'value'"):
        load_dataset(file, label="value", label_kind="value")


def test_there_is_no_other_kind():
    with pytest.raises(ConfigError, match="labels"):
        load_dataset(pd.DataFrame({"text": ["a"], "label": ["b"]}), label_kind="lables")
