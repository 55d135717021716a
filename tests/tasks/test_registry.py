import pytest

from tfllm.errors import ConfigError, PresetNotFound
from tfllm.tasks.base import Task
from tfllm.tasks.registry import TASKS, find_task, load_task


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_found_by_name(name):
    task = find_task(name)
    assert issubclass(task, Task)
    words = [{"lm": "LM"}.get(word, word.capitalize()) for word in name.split("_")]
    assert task.__name__ == TASKS[name] == "".join(words)


def test_an_unknown_task():
    with pytest.raises(ConfigError, match="Did you mean 'text_classifier'"):
        find_task("text_clasifier")


def test_a_folder_without_a_task(tmp_path):
    with pytest.raises(PresetNotFound, match="save_to_preset"):
        load_task(tmp_path)


def test_a_task_of_another_version(tmp_path):
    (tmp_path / "tfllm.json").write_text('{"task": "Oracle"}')
    with pytest.raises(PresetNotFound, match="a Oracle"):
        load_task(tmp_path)
