import threading
import time

import pytest

from tfllm.errors import FailedPrecondition
from tfllm.server.polling import ConfigFilePoller, Poller


def test_calls_again_and_again_until_stopped():
    calls, enough = [], threading.Event()

    def action():
        calls.append(1)
        if len(calls) == 3:
            enough.set()

    poller = Poller(action, 0.01, "test")
    assert enough.wait(10)
    poller.stop()
    count = len(calls)
    time.sleep(0.05)
    assert len(calls) == count


def test_a_failure_does_not_end_it(caplog):
    enough = threading.Event()

    def action():
        if "failed" in caplog.text:
            enough.set()
        raise KeyError("a bug")

    poller = Poller(action, 0.01, "test")
    assert enough.wait(10)
    poller.stop()
    assert "KeyError" in caplog.text


CONFIG = 'model_config_list {{ config {{ name: "{}" base_path: "/m" model_platform: "tensorflow" }} }}'


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "models.config"
    file.write_text(CONFIG.format("a"))
    return file


def test_a_config_file_is_used_when_it_changes(file):
    seen = []
    follow = ConfigFilePoller(file, lambda models: seen.append([model.name for model in models]))
    follow()
    file.write_text(CONFIG.format("b"))
    follow()
    follow()
    assert seen == [["b"]]


def test_a_config_file_that_cannot_be_used_changes_nothing(file, caplog):
    seen = []
    follow = ConfigFilePoller(file, seen.append)
    file.write_text("model_config_list { oops")
    follow()
    follow()
    assert caplog.text.count("changed nothing") == 1
    file.unlink()
    follow()
    assert seen == []
    file.write_text(CONFIG.format("b"))
    follow()
    assert [model.name for model in seen[0]] == ["b"]


def test_a_refused_config_is_tried_again(file):
    answers = iter([FailedPrecondition("not yet"), None])
    seen = []

    def reload(models):
        seen.append(models)
        answer = next(answers)
        if answer:
            raise answer

    follow = ConfigFilePoller(file, reload)
    file.write_text(CONFIG.format("b"))
    for _ in range(3):
        follow()
    assert len(seen) == 2
