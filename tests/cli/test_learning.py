"""What `train`, `tune`, `pretrain` and `evaluate` learn from and judge, and what they refuse, with real models."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tfllm.cli import cli
from tfllm.errors import ConfigError, DataError

PRESET = ("--preset", "micro_bert", "--epochs", 1)
PAIR = ("--text", "a", "--text-pair", "b")


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tfllm", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def call(*arguments):
    """Run a verb in this process, so that its error can be caught."""
    return cli(list(map(str, arguments)), standalone_mode=False)


def saved(run_dir):
    return json.loads((run_dir / "model" / "tfllm.json").read_text())


@pytest.fixture
def pairs(tmp_path):
    rows = [f"good film {n},great film {n},bad food {n},{n % 5 / 4}\n" for n in range(20)]
    (tmp_path / "pairs.csv").write_text("a,b,c,score\n" + "".join(rows))
    return tmp_path / "pairs.csv"


@pytest.fixture
def scopes(tmp_path):
    rows = [f"good film {n},good\nbad food {n},bad\nthe {n},other\n" for n in range(12)]
    (tmp_path / "scopes.csv").write_text("text,label\n" + "".join(rows))
    return tmp_path / "scopes.csv"


@pytest.mark.slow
def test_an_embedder_learns_without_labels_and_is_judged_by_similarity(pairs, tmp_path):
    train = ["train", pairs, "--task", "text_embedder", *PAIR, "--no-label", *PRESET, "--json"]
    assert "val_loss" in json.loads(run(*train, "--run-dir", tmp_path / "two").stdout)[0]
    done = run(*train, "--text-negative", "c", "--run-dir", tmp_path / "three")
    assert "val_loss" in json.loads(done.stdout)[0]
    judge = ["evaluate", pairs, *PAIR, "--label", "score", "--model", tmp_path / "two" / "model"]
    figures = json.loads(run(*judge, "--json").stdout)
    assert figures.keys() == {"spearman", "pearson"} and -1 <= figures["spearman"] <= 1
    assert f"{figures['pearson']:.4f}" in run(*judge).stdout
    exported = run("export", tmp_path / "two" / "model", tmp_path / "saved" / "e", "--data", *judge[1:-2], "--json")
    contract = json.loads((Path(json.loads(exported.stdout)["path"]) / "assets.extra" / "tfllm.json").read_text())
    assert contract["evaluation"] == pytest.approx(figures, abs=1e-5) and contract["pairs"] is False
    assert contract["evaluation_exported"] == pytest.approx(figures, abs=1e-3)
    with pytest.raises(ConfigError, match="another task beside --report and --out-of-scope"):
        call(*judge, "--report", tmp_path / "r.html", "--out-of-scope", "x")
    with pytest.raises(DataError, match="text_pair="):
        call("evaluate", pairs, "--text", "a", "--label", "score", "--model", tmp_path / "two" / "model")


@pytest.mark.slow
def test_a_reranker_learns_from_right_pairs(pairs, tmp_path):
    train = ["train", pairs, "--task", "reranker", *PAIR, "--no-label", *PRESET, "--run-dir", tmp_path / "run"]
    assert "val_accuracy" in json.loads(run(*train, "--json").stdout)[0]
    assert saved(tmp_path / "run")["task"] == "Reranker"


@pytest.mark.parametrize(
    "options, words",
    [
        (["--task", "text_classifier", "--no-label"], "learns without labels .*--task text_classifier"),
        (["--task", "reranker", "--no-label", "--label", "score"], "--no-label with --label"),
        (["--task", "reranker", "--no-label", "--label-kind", "value"], "--no-label with --label-kind"),
        (["--task", "reranker", "--no-label", "--text-negative", "c"], "--task text_embedder"),
        (["--task", "text_embedder", "--label", "score", "--text-negative", "c"], "and --no-label"),
    ],
)
@pytest.mark.parametrize("verb", [["train"], ["tune", "--search", "batch_size=2,4"]], ids=lambda verb: verb[0])
def test_rows_that_contradict_the_task_are_refused(pairs, tmp_path, verb, options, words):
    with pytest.raises(ConfigError, match=words):
        call(*verb, pairs, *PAIR, *options, "--run-dir", tmp_path / "run")


def test_no_label_beside_a_label_of_the_settings_file_is_refused(pairs, tmp_path):
    (tmp_path / "settings.toml").write_text('no_label = true\nlabel = "score"\ntask_name = "reranker"\n')
    with pytest.raises(ConfigError, match="--no-label with --label"):
        call("train", pairs, *PAIR, "--config", tmp_path / "settings.toml", "--run-dir", tmp_path / "run")


@pytest.mark.slow
def test_thresholds_of_several_labels_are_chosen_and_stored(tmp_path):
    rows = [f"good film {n},x|y\nbad food {n},x\n" for n in range(12)]
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(rows))
    train = ["train", tmp_path / "data.csv", "--label-kind", "labels", *PRESET, "--run-dir", tmp_path / "run"]
    said = run(*train, "--tune-decision").stderr
    x, y = saved(tmp_path / "run")["head"]["thresholds"]
    assert f"Decides by x={x:.4g}  y={y:.4g}, chosen on" in said


@pytest.mark.slow
def test_a_text_out_of_scope_is_not_learnt_and_has_a_threshold(scopes, tmp_path):
    train = ["train", scopes, *PRESET, "--run-dir", tmp_path / "run", "--tune-decision", "--out-of-scope", "other"]
    said = run(*train).stderr
    head = saved(tmp_path / "run")["head"]
    assert head["labels"] == ["bad", "good"] and head["out_of_scope"][0] == "other"
    assert f"Decides by other={head['out_of_scope'][1]:.4g}, chosen on 6 validation rows." in said
    judge = ["evaluate", scopes, "--validation-fraction", 0.2, "--model", tmp_path / "run" / "model", "--json"]
    metrics = json.loads(run(*judge, "--out-of-scope", "other").stdout)["metrics"]
    assert {"in_scope_accuracy", "out_of_scope_recall"} <= metrics.keys()


@pytest.mark.slow
def test_the_threshold_of_no_answer_is_chosen_and_stored(tmp_path):
    row = {"question": "what was good?", "context": "the film was good"}
    rows = [json.dumps({**row, "answers": [[4, 8]] if n % 2 else []}) for n in range(20)]
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    columns = ["--text", "question", "--text-pair", "context", "--label", "answers"]
    train = ["train", tmp_path / "data.jsonl", "--task", "question_answerer", *columns, *PRESET]
    said = run(*train, "--tune-decision", "--run-dir", tmp_path / "run").stderr
    assert f"Decides by no_answer={saved(tmp_path / 'run')['head']['no_answer']:.4g}, chosen on" in said
    (tmp_path / "data.jsonl").write_text("\n".join(row for row in rows if "[]" not in row))
    with pytest.raises(DataError, match="without an answer"):
        call(*train, "--tune-decision", "--run-dir", tmp_path / "other")


@pytest.mark.parametrize(
    "options, error, words",
    [
        (["--tune-decision"], ConfigError, "something to choose"),
        (["--tune-decision", "--out-of-scope", "othr"], DataError, "labelled 'othr'"),
        (["--tune-decision", "--label-kind", "labels", "--out-of-scope", "other"], ConfigError, "something to choose"),
        (["--out-of-scope", "other"], ConfigError, "--out-of-scope alone"),
    ],
)
def test_a_decision_that_cannot_be_tuned_is_refused_before_training(scopes, tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        call("train", scopes, *PRESET, "--run-dir", tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_pretraining_goes_on_with_what_a_preset_has(tmp_path):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.txt").write_text("the film was good\n\nthe food was bad\n\n" * 100)
    steps = ["--epochs", 1, "--steps-per-epoch", 2, "--batch-size", 4]
    sizes = ["--layers", 1, "--width", 8, "--heads", 2, "--max-length", 16, "--vocabulary-size", 200]
    head = ["--sentence-head", "next", "--mask-rate", 0.3, "--tokens"]
    pretrain = ["pretrain", tmp_path / "books", *steps]
    run(*pretrain, *sizes, *head, "--run-dir", tmp_path / "first")
    preset = ["--preset", tmp_path / "first" / "model"]
    run(*pretrain, *preset, "--static-embeddings", "cbow", "--run-dir", tmp_path / "second")
    assert (tmp_path / "second" / "cbow.npz").is_file()
    assert saved(tmp_path / "second") == saved(tmp_path / "first")
    run(*pretrain, *preset, "--sentence-head", "none", "--max-length", 8, "--run-dir", tmp_path / "third")
    changed = saved(tmp_path / "third")
    assert changed["max_length"] == 8 and changed["head"]["sentence_head"] is None
    assert changed["head"]["mask_rate"] == 0.3 and not changed["head"]["whole_words"]
    with pytest.raises(ConfigError, match="a MaskedLM, which has no judge"):
        call("evaluate", tmp_path / "data.csv", "--model", tmp_path / "first" / "model")


@pytest.mark.parametrize(
    "options, words",
    [
        (["--preset", "micro_bert", "--layers", 3], "both, layers=3"),
        (["--preset", "micro_bert", "--vocabulary", "v.txt", "--cased"], "vocabulary='v.txt', lowercase=False"),
        (["--preset", "micro_bert", "--vocabulary-size", 30000], "vocabulary_size=30000"),
        (["--vocabulary", "v.txt", "--vocabulary-size", 30000], "Received: both"),
    ],
)
def test_a_new_encoder_beside_a_preset_is_refused(tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        call("pretrain", tmp_path, *options, "--run-dir", tmp_path / "run")
