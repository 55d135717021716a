import json

import pytest
from click.testing import CliRunner

from tfllm.cli import cli
from tfllm.errors import DataError
from tfllm.training.runs import list_runs


@pytest.fixture
def folder(tmp_path):
    for name, losses in {"a": [0.9, 0.5, 0.1], "deep/b": []}.items():
        run = tmp_path / name
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({"task": "TextClassifier", "preset": "micro_bert", "epochs": 3}))
        rows = [{"epoch": n + 1, "loss": loss, "val_accuracy": 1 - loss} for n, loss in enumerate(losses)]
        if rows:
            (run / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_runs_are_found_at_any_depth(folder):
    found = list_runs(folder)
    assert [run.path.name for run in found] == ["a", "b"]
    assert found[0].curve("loss") == "█▄▁" and found[0].curve("val_accuracy")[0] == "▁"
    assert found[1].epochs == [] and found[1].curve("loss") == ""


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        list_runs(tmp_path / "nowhere")


def test_the_verb_lists_runs_and_the_epochs_of_one(folder):
    listed = CliRunner().invoke(cli, ["runs", str(folder)])
    assert listed.exit_code == 0 and "3/3" in listed.output and "0/3" in listed.output and "█▄▁" in listed.output
    assert "val_accuracy 0.9" in listed.output
    one = CliRunner().invoke(cli, ["runs", str(folder / "a")])
    assert "val_accuracy" in one.output and len(one.output.splitlines()) == 4
    as_json = CliRunner().invoke(cli, ["runs", str(folder), "--json"])
    assert [len(run["epochs"]) for run in json.loads(as_json.output)] == [3, 0]


def test_the_verb_on_a_folder_without_runs(tmp_path):
    assert isinstance(CliRunner().invoke(cli, ["runs", str(tmp_path)]).exception, DataError)
