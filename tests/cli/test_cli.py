"""The command line as a user meets it: real processes, exit statuses, one-line errors, JSON that parses."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

TFLLM = [sys.executable, "-m", "tfllm"]


def run(*arguments, stdin=None):
    return subprocess.run([*TFLLM, *map(str, arguments)], capture_output=True, text=True, input=stdin, check=False)


def test_help_and_version_need_no_tensorflow():
    code = "import sys; from tfllm.cli import cli; assert not {'tensorflow', 'keras', 'pandas'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
    done = run("--version")
    assert done.returncode == 0 and done.stdout.startswith("tfllm, version ")


def test_doctor_lists_versions_and_devices():
    found = json.loads(run("doctor", "--json").stdout)
    assert found["packages"]["grpcio"] and found["packages"]["tensorflow"].startswith("2.21")
    assert any("CPU" in device for device in found["devices"])


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (["models", "list", "nowhere"], 1, "Expected a folder of models"),
        (["predict", "--name", "x", "--server", "127.0.0.1:1", "--timeout", "1", "hi"], 1, "127.0.0.1:1"),
        (["train", "nowhere.csv", "--run-dir", "r"], 1, "nowhere.csv"),
        (["pretrain", "nowhere", "--run-dir", "r"], 1, "nowhere"),
        (["train", "--epochs", "many", "x.csv", "--run-dir", "r"], 2, "not a valid integer"),
        (["explode"], 2, "No such command"),
        (["evaluate", "x.csv"], 1, "either --model, or --server"),
        (["serve", "nowhere"], 1, "nowhere"),
    ],
)
def test_errors_are_one_line_with_a_status(arguments, status, words):
    done = run(*arguments)
    assert done.returncode == status
    assert words in done.stderr and "Traceback" not in done.stderr
    if status == 1:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("Loading TensorFlow")]
        assert len(lines) == 1 and lines[0].startswith("tfllm: ")


def test_an_unknown_setting_in_the_file_is_named(tmp_path):
    (tmp_path / "data.csv").write_text("text,label\n" + "good,1\nbad,0\n" * 5)
    (tmp_path / "settings.toml").write_text("learning_rte = 0.1\n")
    done = run(
        "train",
        tmp_path / "data.csv",
        "--preset",
        "micro_bert",
        "--run-dir",
        tmp_path / "run",
        "--config",
        tmp_path / "settings.toml",
    )
    assert done.returncode == 1 and "Did you mean 'learning_rate'?" in done.stderr


@pytest.mark.slow
def test_the_main_job_from_a_file_to_an_answer(tmp_path):
    """train, evaluate, export, models, serve, predict, each a process of its own."""
    rows = [f"good film {n},good\nbad food {n},bad\n" for n in range(20)]
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "".join(rows))
    settings = tmp_path / "settings.toml"
    settings.write_text("epochs = 9\nlearning_rate = 0.02\nbatch_size = 8\n")
    run_dir, root = tmp_path / "run", tmp_path / "models"

    train = ["train", data, "--preset", "micro_bert", "--pooling", "mean", "--run-dir", run_dir, "--config", settings]
    done = run(*train, "--epochs", 12, "--json")
    assert done.returncode == 0, done.stderr
    history = json.loads(done.stdout)
    assert len(history) == 12 and history[-1]["val_accuracy"] == 1.0
    assert "Continuing" in run(*train, "--epochs", 12, "--json").stderr
    again = run(*train, "--epochs", 13)
    assert again.returncode == 1 and "epochs: was 12, now 13" in again.stderr

    done = run("evaluate", data, "--model", run_dir / "model", "--report", tmp_path / "report.html", "--json")
    assert json.loads(done.stdout)["metrics"]["accuracy"] == 1.0
    assert "<svg" in (tmp_path / "report.html").read_text()

    done = run("export", run_dir / "model", root / "reviews", "--data", data, "--json")
    assert json.loads(done.stdout)["version"] == 1, done.stderr
    listed = json.loads(run("models", "list", root, "--json").stdout)
    assert [(row["name"], row["version"], row["accuracy"]) for row in listed] == [("reviews", 1, 1.0)]

    server = subprocess.Popen([*TFLLM, "serve", str(root), "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        ready = server.stdout.readline()
        address = re.search(r"Serving reviews on (\S+) ", ready).group(1)
        done = run("predict", "--server", address, "--name", "reviews", "--json", "good film", "bad food")
        assert [answer["label"] for answer in json.loads(done.stdout)] == ["good", "bad"]
        done = run("predict", "--server", address, "--name", "reviews", stdin="bad food\ngood film\n")
        assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["bad", "good"]
        done = run("predict", "--server", address, "--name", "reviewz", "x")
        assert done.returncode == 1 and "reviewz" in done.stderr
        done = run("evaluate", data, "--server", address, "--name", "reviews", "--json")
        assert json.loads(done.stdout)["metrics"]["accuracy"] == 1.0
        start = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0
        assert time.monotonic() - start < 15
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.slow
def test_a_killed_training_goes_on_after_the_last_whole_epoch(tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "".join(f"good film {n},good\nbad food {n},bad\n" for n in range(40)))
    train = [
        *TFLLM,
        "train",
        str(data),
        "--preset",
        "micro_bert",
        "--epochs",
        "400",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    child = subprocess.Popen([*train, "--batch-size", "8"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    history = tmp_path / "run" / "history.jsonl"
    deadline = time.monotonic() + 120
    while not history.is_file() or len(history.read_text().splitlines()) < 3:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = history.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in done] == list(range(1, len(done) + 1))
    again = subprocess.Popen(
        [*train, "--batch-size", "8"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        for line in again.stderr:
            if "Continuing" in line:
                break
        assert f"after epoch {len(done)} of 400" in line
        while len(history.read_text().splitlines()) < len(done) + 2:
            assert again.poll() is None
            time.sleep(0.05)
        assert history.read_text().splitlines()[: len(done)] == done
    finally:
        again.kill()
        again.wait()
        again.stderr.close()


@pytest.mark.slow
def test_pretrain_then_train(tmp_path):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.txt").write_text("the film was good\n\nthe food was bad\n\n" * 100)
    sizes = ["--layers", 1, "--width", 8, "--heads", 2, "--max-length", 16, "--vocabulary-size", 200]
    settings = ["--epochs", 1, "--steps-per-epoch", 3, "--batch-size", 4, "--validation-fraction", 0.1, "--json"]
    command = ["pretrain", tmp_path / "books", "--run-dir", tmp_path / "run", *sizes, *settings]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "val_loss" in json.loads(done.stdout)[0]
    assert json.loads(run(*command).stdout) == json.loads(done.stdout)
    refused = run(*command, "--seed", 1)
    assert refused.returncode == 1 and "seed: was 0, now 1" in refused.stderr
    (tmp_path / "data.csv").write_text("text,label\n" + "good,1\nbad,0\n" * 10)
    trained = run(
        "train", tmp_path / "data.csv", "--preset", tmp_path / "run" / "model", "--epochs", 1, "--run-dir",
        tmp_path / "train",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
