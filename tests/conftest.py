"""Fixtures that many tests share: a tiny data set, a tiny model, odd texts, and where the measuring data lies."""

import os
import signal
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pandas as pd
import pytest

GOOD = (
    "good film",
    "great food",
    "the film was fine",
    "good good food",
    "fine",
    "a great film",
    "great",
    "the food was good",
)
BAD = (
    "bad film",
    "awful food",
    "the film was poor",
    "bad bad food",
    "poor",
    "an awful film",
    "awful",
    "the food was bad",
)


@pytest.fixture(scope="session", autouse=True)
def signals_that_are_heard():
    """The processes that tests start hear Ctrl-C and SIGHUP, also where the tests run in the background or by nohup."""
    for number, handler in {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture
def reviews():
    """16 rows, two labels, that a micro model can learn."""
    from tfllm.data.schema import TextDataset

    rows = [{"text": text, "label": "good"} for text in GOOD] + [{"text": text, "label": "bad"} for text in BAD]
    return TextDataset(pd.DataFrame(rows), source="the reviews")


@pytest.fixture
def micro_model():
    """An untrained two-label classifier: 2 layers, width 8."""
    import keras

    from tfllm.tasks.text_classifier import TextClassifier

    keras.utils.set_random_seed(0)
    return TextClassifier.from_preset("micro_bert", labels=["bad", "good"])


@pytest.fixture(scope="session")
def measuring_data():
    """The folder of real data sets, which is not part of the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("TFLLM_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no measuring data at {folder}; set TFLLM_DATA to its folder")
    return folder


@pytest.fixture
def free_ports():
    """A function that returns so many free ports of this machine."""
    import contextlib
    import socket

    def find(count):
        with contextlib.ExitStack() as stack:
            listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
            return [listener.getsockname()[1] for listener in listeners]

    return find


@pytest.fixture
def start_writer():
    """A function that starts `repository_writer.py` and returns it when it is ready, or with `stop_at` at that call."""
    import subprocess
    import sys

    pipes = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
    writers = []

    def start(*arguments, stop_at=None):
        command = [sys.executable, Path(__file__).with_name("repository_writer.py"), *map(str, arguments)]
        environment = os.environ if stop_at is None else {**os.environ, "STOP_AT": stop_at}
        writer = subprocess.Popen(command, **pipes, text=True, env=environment)
        writers.append(writer)
        assert writer.stdout.readline(), writer.stderr.read()
        if stop_at is not None:
            writer.stdin.write("\n")
            writer.stdin.flush()
            assert writer.stdout.readline(), writer.stderr.read()
        return writer

    yield start
    for writer in writers:
        writer.kill()
        writer.wait()


@pytest.fixture
def write_at_once(start_writer):
    """A function that sets a writer for each of these arguments to work; it returns their exit codes and errors."""

    def write(*commands):
        writers = [start_writer(*command) for command in commands]
        for writer in writers:
            writer.stdin.write("\n")
            writer.stdin.flush()
        errors = [writer.communicate(timeout=120)[1] for writer in writers]
        return [writer.returncode for writer in writers], errors

    return write
