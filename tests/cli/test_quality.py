"""`tfllm evaluate` on rows of every kind, with a stand-in for the client of a served model."""

import json

import pytest

import tfllm
from tfllm.cli import cli
from tfllm.errors import BadRow, DataError
from tfllm.results import Classification, Entities, Entity

CONLL = "Anna NNP I-person\nlives VB O\n\nHi UH O\n"
SERVED = ("--server", "localhost:8500", "--name", "ner", "--json")


class Served:
    """The client of a model that takes each text that begins with a capital A for a person."""

    def __init__(self, *arguments, **settings):
        self.asked = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def predict(self, texts):
        return [Entities([Entity("person", "Anna", 0, 4, 0.9)] if text.startswith("A") else []) for text in texts]


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys):
    def run(name, content, *options, client=Served):
        (tmp_path / name).write_text(content, "utf-8")
        monkeypatch.setattr(tfllm, "Client", client)
        cli(["evaluate", str(tmp_path / name), *options, *SERVED], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return run


def test_the_layout_of_the_file_says_what_its_labels_are(evaluate):
    report = evaluate("dev.conll", CONLL.replace("I-", "B-"))
    assert report["metrics"]["f1"] == 1.0 and report["rows"] == 2


def test_a_table_has_one_label_a_row_unless_told(evaluate):
    class OneLabel(Served):
        def predict(self, texts):
            return [Classification("a", 0.9) for _ in texts]

    assert evaluate("a.csv", "text,label\nx,a\ny,b\n", client=OneLabel)["metrics"]["accuracy"] == 0.5
    with pytest.raises(DataError, match="answers of the kind Entities"):
        evaluate("a.jsonl", '{"text": "Anna", "label": []}', "--label-kind", "entities", client=OneLabel)


def test_columns_and_the_scheme_of_tags_can_be_named(evaluate):
    named = ("--columns", "token, pos,ner", "--tag-scheme", "iob1")
    assert evaluate("dev.txt", CONLL, *named)["metrics"]["f1"] == 1.0
    plain = ("--columns", "token,pos,ner", "--label", "pos", "--tag-scheme", "plain")
    assert evaluate("dev.txt", CONLL, *plain)["metrics"]["recall"] == 0.0


def test_bad_rows_can_be_left_out(evaluate):
    with pytest.raises(BadRow, match="line 1: 'I-person'"):
        evaluate("dev.conll", CONLL)
    assert evaluate("dev.conll", CONLL, "--skip-bad-rows")["rows"] == 1
