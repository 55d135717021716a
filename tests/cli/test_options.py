"""The options that say how data is read: the same ones wherever data is loaded."""

import pytest

from tfllm.cli.models import export
from tfllm.cli.options import load_rows
from tfllm.cli.quality import evaluate
from tfllm.cli.training import train, tune

VERBS = {
    "train": (train, ["x.csv", "--run-dir", "r"]),
    "tune": (tune, ["x.csv", "--run-dir", "r", "--search", "batch_size=2,4"]),
    "evaluate": (evaluate, ["x.csv"]),
    "export": (export, ["model", "saved"]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_loads_data_takes_them(verb):
    command, arguments = VERBS[verb]
    given = command.make_context(
        verb, [*arguments, "--columns", "token, ner", "--tag-scheme", "iob1", "--skip-bad-rows"]
    )
    names = ("columns", "tag_scheme", "skip_bad_rows")
    assert [given.params[name] for name in names] == [("token", "ner"), "iob1", True]
    left_out = command.make_context(verb, list(arguments))
    assert [left_out.params[name] for name in names] == [None, None, False]


def test_a_settings_file_has_the_columns_as_a_list(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('columns = ["token", "ner"]\nskip_bad_rows = true\n')
    given = train.make_context("train", ["x.conll", "--run-dir", "r", "--config", str(file)]).params
    assert given["columns"] == ("token", "ner") and given["skip_bad_rows"] is True


def test_rows_are_loaded_as_the_options_say(tmp_path):
    (tmp_path / "a.txt").write_text("1 Anna I-person\n\n2 Hi B-\n")
    words = [*("--text", "token", "--columns", "id,token,ner", "--tag-scheme", "iob1"), "--skip-bad-rows"]
    options = evaluate.make_context("evaluate", [str(tmp_path / "a.txt"), *words]).params
    rows = load_rows(options["data"], options)
    assert (rows.texts, rows.targets, rows.label_kind) == (["Anna"], [[(0, 4, "person")]], "entities")


def test_the_kind_of_label_comes_from_the_option_or_else_from_the_verb(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,1\n")
    options = evaluate.make_context("evaluate", [str(tmp_path / "a.csv")]).params
    assert load_rows(options["data"], options, label_kind="value").targets == [1.0]
    options = evaluate.make_context("evaluate", [str(tmp_path / "a.csv"), "--label-kind", "labels"]).params
    assert load_rows(options["data"], options, label_kind="value").targets == [["1"]]
    assert load_rows(options["data"], options, label=None).label is None
