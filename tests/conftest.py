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
