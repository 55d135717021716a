import threading
import time

import pytest

from tfllm.errors import FailedPrecondition
from tfllm.server import polling
from tfllm.server.polling import ConfigFile, Poller


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
    config = ConfigFile(file)
    assert [model.name for model in config.read()] == ["a"]
    for name in ("a", "b", "b"):
        file.write_text(CONFIG.format(name))
        config.follow(lambda models: seen.append([model.name for model in models]))
    assert seen == [["b"]]


def test_what_is_written_while_the_file_is_parsed_is_a_change(file, monkeypatch):
    def slow(path, read=polling.read_config_file):
        models = read(path)
        file.write_text(CONFIG.format("b"))
        return models

    config, seen = ConfigFile(file), []
    with monkeypatch.context() as patched:
        patched.setattr(polling, "read_config_file", slow)
        assert [model.name for model in config.read()] == ["a"]
    config.follow(seen.extend)
    assert [model.name for model in seen] == ["b"]


def test_a_config_file_that_cannot_be_used_changes_nothing(file, caplog):
    seen = []
    config = ConfigFile(file)
    config.read()
    file.write_text("model_config_list { oops")
    config.follow(seen.append)
    config.follow(seen.append)
    assert caplog.text.count("changed nothing") == 1
    file.unlink()
    config.follow(seen.append)
    assert seen == []
    file.write_text(CONFIG.format("b"))
    config.follow(seen.append)
    assert [model.name for model in seen[0]] == ["b"]


def test_a_refused_config_is_tried_again(file):
    answers = iter([FailedPrecondition("not yet"), None])
    seen = []

    def reload(models):
        seen.append(models)
        answer = next(answers)
        if answer:
            raise answer

    config = ConfigFile(file)
    config.read()
    file.write_text(CONFIG.format("b"))
    for _ in range(3):
        config.follow(reload)
    assert len(seen) == 2
