"""All tasks by name, loaded when they are asked for: `find_task` and `load_task`."""

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfllm.errors import ConfigError, PresetNotFound, choices_hint
from tfllm.tasks.loading import saved_kind

if TYPE_CHECKING:
    from tfllm.tasks.base import Task

TASKS = {
    "masked_lm": "MaskedLM",
    "question_answerer": "QuestionAnswerer",
    "reranker": "Reranker",
    "text_classifier": "TextClassifier",
    "text_regressor": "TextRegressor",
    "token_classifier": "TokenClassifier",
    "text_embedder": "TextEmbedder",
}
"""Task name, which is also its module in `tfllm.tasks` -> class."""


def find_task(name: str) -> "type[Task]":
    """Return the class of a task.

    Args:
        name: a key of `TASKS`, such as "text_classifier".

    Raises:
        ConfigError: there is no such task; the message names the tasks.

    Example:
        >>> find_task("text_classifier").__name__
        'TextClassifier'
    """
    if name not in TASKS:
        raise ConfigError(f"Expected a task. Received: {name!r}. {choices_hint(name, TASKS)}")
    found: type[Task] = getattr(importlib.import_module(f"tfllm.tasks.{name}"), TASKS[name])
    return found


def load_task(folder: str | os.PathLike[str], **settings: Any) -> "Task":
    """Load a task that `save_to_preset` wrote, whichever it is.

    Args:
        folder: the folder, such as `runs/reviews/model`.
        **settings: what the class's `from_preset` takes, such as `max_length`.

    Returns:
        The task, of its own class.

    Raises:
        PresetNotFound: the folder does not hold a saved task.
        CorruptWeights: what it holds is damaged.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> find_task("text_classifier").from_preset("micro_bert", labels=["bad", "good"]).save_to_preset(folder)
        >>> type(load_task(folder)).__name__
        'TextClassifier'
    """
    kind = saved_kind(Path(folder))
    if kind is None:
        raise PresetNotFound(f"Expected a folder that save_to_preset of a task wrote. Received: '{folder}'.")
    names = {task: name for name, task in TASKS.items()}
    if kind not in names:
        raise PresetNotFound(f"Expected a saved task of this version of tfllm in '{folder}'. Received: a {kind}.")
    return find_task(names[kind]).from_preset(folder, **settings)
