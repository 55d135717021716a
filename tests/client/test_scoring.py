"""Files to files: whole, stopped and continued, with a real server and real kills."""

import contextlib
import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tfllm.client.client import Client
from tfllm.client.mock import MockTransport
from tfllm.client.parts import Parts
from tfllm.client.scoring import ScoringJob, finished_rows, score_file
from tfllm.client.tables import read_rows
from tfllm.errors import BadRow, CallError, ConfigError, DataError, MissingColumn, Overloaded, PartialFailure
from tfllm.wire import messages


@pytest.fixture
def opened(server):
    return lambda version: Client(server.address, model="echo", version=version)


def write_csv(path, count, text="text {}"):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([number, text.format(number)] for number in range(count))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "csv.gz"])
def test_rows_come_back_with_their_results(tmp_path, opened, ending):
    source, out = tmp_path / "in.csv", tmp_path / f"out.{ending}"
    write_csv(source, 250)
    job = ScoringJob(str(source), str(out), part_rows=100)
    assert score_file(opened, job, batch_size=7) == 250
    found = list(read_rows(out))
    assert [(row["id"], row["label"], float(row["score"])) for row in found] == [
        (str(number), f"text {number}", float(len(f"text {number}"))) for number in range(250)
    ]
    assert list(found[0]) == ["id", "text", "label", "score"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in.csv", out.name]
    again = tmp_path / f"again.{ending}"
    score_file(opened, ScoringJob(out_of(out), str(again), prefix="p_", part_rows=100))
    assert list(read_rows(again))[249]["p_label"] == "text 249"


def out_of(path):
    return str(path)


def test_pairs(tmp_path, server):
    (tmp_path / "in.jsonl").write_text('{"a": "x", "b": "y", "n": 1}\n{"a": "z", "b": "w"}\n')
    job = ScoringJob(str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), text="a", text_pair="b")
    score_file(lambda version: Client(server.address, model="echo", signature="pairs", version=version), job)
    assert [json.loads(line)["label"] for line in open(tmp_path / "out.jsonl")] == ["x|y", "z|w"]


class Flaky(MockTransport):
    """Fails at the third request, and has metadata."""

    def __init__(self, fails):
        super().__init__(self.answer)
        self.fails = fails

    def answer(self, inputs):
        if self.fails and len(self.calls) > 3:
            raise Overloaded("no room")
        texts = inputs["text"].tolist()
        return {"label": texts, "score": [0.5] * len(texts), "scores": [[0.5, 0.5]] * len(texts)}

    def call(self, method, request, timeout):
        if method != messages.GET_MODEL_METADATA:
            return super().call(method, request, timeout)
        response = messages.GetModelMetadataResponse(model_spec={"name": "m", "version": {"value": 3}})
        response.metadata["signature_def"].value = b""
        return response.SerializeToString()


def test_a_failure_keeps_what_is_done_and_the_version(tmp_path):
    write_csv(tmp_path / "in.csv", 95)
    versions = []

    def open_client(version, fails):
        versions.append(version)
        return Client("nowhere:1", model="m", version=version, transport=Flaky(fails))

    job = ScoringJob(str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), part_rows=10)
    with pytest.raises(CallError, match="no room"):
        score_file(lambda version: open_client(version, True), job, batch_size=10, concurrency=1)
    assert finished_rows(job) == 30 and not (tmp_path / "out.csv").exists()
    assert score_file(lambda version: open_client(version, False), job, batch_size=10) == 95
    assert versions == [None, 3, 3]
    assert [row["label"] for row in read_rows(tmp_path / "out.csv")] == [f"text {number}" for number in range(95)]


def test_parts_of_another_job_are_not_mixed_in(tmp_path, opened):
    source, out = tmp_path / "in.csv", str(tmp_path / "out.csv")
    write_csv(source, 5)
    (tmp_path / "out.csv.parts").mkdir()
    state = {"job": {"source": "other.csv"}, "version": 1, "rows": 0, "columns": []}
    (tmp_path / "out.csv.parts" / "000000.csv").write_text("1,a\n")
    with pytest.raises(ConfigError, match="Received: parts without job.json. Remove the folder to begin anew"):
        score_file(opened, ScoringJob(str(source), out))
    (tmp_path / "out.csv.parts" / "job.json").write_text(json.dumps(state))
    with pytest.raises(ConfigError, match="Received: another source, out, .* Remove the folder to begin anew"):
        score_file(opened, ScoringJob(str(source), out))


def test_a_run_that_failed_before_its_first_part_may_be_corrected(tmp_path, opened):
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    write_csv(source, 5)
    with pytest.raises(MissingColumn):
        score_file(opened, ScoringJob(str(source), str(out), text="txet"))
    assert score_file(opened, ScoringJob(str(source), str(out))) == 5


def test_positions_count_from_the_first_row_of_the_file(tmp_path):
    write_csv(tmp_path / "in.csv", 95)
    job = ScoringJob(str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), part_rows=10)

    def score():
        open_client = lambda version: Client("nowhere:1", model="m", version=version, transport=Flaky(True))  # noqa: E731
        with pytest.raises(PartialFailure, match="no room") as caught:
            score_file(open_client, job, batch_size=10, concurrency=1)
        return sorted(caught.value.failed)

    assert score() == list(range(30, 40))
    assert score() == list(range(60, 70))


@pytest.mark.parametrize("stopped_at", [1, 2, 3, "job.json"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_stop_while_the_parts_are_removed_leaves_the_output(tmp_path, opened, monkeypatch, ending, stopped_at):
    source, out = tmp_path / "in.csv", tmp_path / f"out.{ending}"
    write_csv(source, 35)
    job = ScoringJob(str(source), str(out), part_rows=10)
    removed = []

    def stop(self, unlink=Path.unlink, **options):
        if self.parent.name.startswith("out."):
            removed.append(self)
            if len(removed) == stopped_at:
                raise KeyboardInterrupt
        unlink(self, **options)

    def stop_last(path, **options):
        if Path(path).exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", stop)
        if stopped_at == "job.json":
            patch.setattr(shutil, "rmtree", stop_last)
        score_file(opened, job)
    whole = out.read_bytes()
    assert score_file(opened, job) == 35
    assert out.read_bytes() == whole and len(list(read_rows(out))) == 35
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in.csv", out.name]
    with pytest.raises(ConfigError, match="not there yet"):
        score_file(opened, job)


def test_a_stop_between_the_output_and_the_removal(tmp_path, opened, monkeypatch):
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    write_csv(source, 35)
    job = ScoringJob(str(source), str(out), part_rows=10)

    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Parts, "remove", stop)
        score_file(opened, job)
    whole = out.read_bytes()
    assert score_file(opened, job) == 35 and out.read_bytes() == whole


def test_an_output_beside_parts_that_are_not_whole_is_not_overwritten(tmp_path):
    write_csv(tmp_path / "in.csv", 95)
    job = ScoringJob(str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), part_rows=10)

    def open_client(version):
        return Client("nowhere:1", model="m", version=version, transport=Flaky(True))

    with pytest.raises(CallError):
        score_file(open_client, job, batch_size=10, concurrency=1)
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(ConfigError, match="and parts of it in"):
        score_file(open_client, job)
    assert (tmp_path / "out.csv").read_text() == "mine" and finished_rows(job) == 30


def test_parts_after_a_gap_are_done_again(tmp_path, opened):
    write_csv(tmp_path / "in.csv", 95)
    job = ScoringJob(str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), part_rows=10)

    def open_client(version, fails):
        return Client("nowhere:1", model="m", version=version, transport=Flaky(fails))

    with pytest.raises(CallError):
        score_file(lambda version: open_client(version, True), job, batch_size=10, concurrency=1)
    (tmp_path / "out.csv.parts" / "000001.csv").unlink()
    assert finished_rows(job) == 10
    assert score_file(lambda version: open_client(version, False), job, batch_size=10) == 95
    assert [row["id"] for row in read_rows(tmp_path / "out.csv")] == [str(number) for number in range(95)]


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ("text\na\n", {"text": "txt"}, MissingColumn, "column 'txt' in row 1. Did you mean 'text'"),
        ("text,label\na,b\n", {}, ConfigError, "Give a prefix"),
        ("text\n", {}, DataError, "which has none"),
    ],
)
def test_rows_that_cannot_be_scored(tmp_path, opened, rows, options, error, message):
    (tmp_path / "in.csv").write_text(rows)
    with pytest.raises(error, match=message):
        score_file(opened, ScoringJob(str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), **options))


def test_values_that_are_no_text(tmp_path, opened):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    job = ScoringJob(str(tmp_path / "in.jsonl"), str(tmp_path / "out.csv"))
    with pytest.raises(BadRow, match="Received: None in row 2"):
        score_file(opened, job)
    with pytest.raises(DataError, match="not there"):
        score_file(opened, ScoringJob(str(tmp_path / "no.csv"), str(tmp_path / "b.csv")))
    (tmp_path / "there.csv").touch()
    with pytest.raises(ConfigError, match="not there yet"):
        score_file(opened, ScoringJob(str(tmp_path / "in.jsonl"), str(tmp_path / "there.csv")))


def command(server, source, out, *options):
    verb = [sys.executable, "-m", "tfllm", "predict", "--server", server.address, "--name", "echo"]
    return [*verb, str(source), "--out", str(out), *options]


def run_and_kill(arguments, parts, after):
    """Run a command, and kill it once some parts are there."""
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while len(list(parts.glob("0*"))) < after:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_killed_and_continued_is_as_if_never_stopped(tmp_path, server, ending):
    source = tmp_path / "in.csv"
    write_csv(source, 6000)
    whole, killed = tmp_path / f"whole.{ending}", tmp_path / f"killed.{ending}"
    options = ("--part-rows", "500", "--batch-size", "50")
    subprocess.run(command(server, source, whole, *options), check=True, capture_output=True)
    for after in (3, 7):
        run_and_kill(command(server, source, killed, *options), tmp_path / f"killed.{ending}.parts", after)
        assert not killed.exists()
    done = subprocess.run(command(server, source, killed, *options), check=True, capture_output=True, text=True)
    assert "Continuing after" in done.stderr and "6,000 rows" in done.stderr
    assert killed.read_bytes() == whole.read_bytes()


def test_the_verb_of_the_shell(tmp_path, server):
    write_csv(tmp_path / "in.csv", 5)
    done = subprocess.run(
        command(server, tmp_path / "in.csv", tmp_path / "o.csv", "--json"), check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["rows"] == 5
    done = subprocess.run(
        command(server, "a.csv", tmp_path / "p.csv") + ["b.csv"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2 and "give one file" in done.stderr


@pytest.mark.slow
def test_a_million_rows_in_flat_memory_killed_once(tmp_path, server):
    source = tmp_path / "in.csv"
    write_csv(source, 1_000_000, "this is the text of row {} of a rather long file")
    outs = [tmp_path / "whole.parquet", tmp_path / "killed.parquet"]
    options = ("--batch-size", "1000", "--concurrency", "4")
    start = time.monotonic()
    process = psutil.Popen(command(server, source, outs[0], *options), stderr=subprocess.DEVNULL)
    sizes = []
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            sizes.append(process.memory_info().rss / 1e6)
        time.sleep(0.2)
    seconds = time.monotonic() - start
    assert process.returncode == 0
    half = len(sizes) // 2
    early, late = max(sizes[:half]), max(sizes[half:])
    run_and_kill(command(server, source, outs[1], *options), tmp_path / "killed.parquet.parts", 25)
    subprocess.run(command(server, source, outs[1], *options), check=True, capture_output=True)
    print(f"{1_000_000 / seconds:,.0f} rows a second; at most {early:.0f} MB in the first half, {late:.0f} MB after")
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert sum(1 for _ in read_rows(outs[1])) == 1_000_000
    assert late < 1.4 * early and late < 400
