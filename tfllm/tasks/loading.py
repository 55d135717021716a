"""What loading a task needs beside the task: the file that `save_to_preset` wrote, and the encoder's preprocessor."""

import json
from collections.abc import Container
from pathlib import Path
from typing import Any

from tfllm.data.cleaning import TextCleaner
from tfllm.errors import CorruptWeights, PresetNotFound
from tfllm.presets import Encoder
from tfllm.tasks.preprocessing import TextPreprocessor

TASK_FILE = "tfllm.json"
PRETRAINED = "MaskedLM"
"""The task whose encoder the others begin with."""


def read_saved(folder: Path, task: str) -> dict[str, Any] | None:
    """Return what `save_to_preset` wrote of a task, or None for a preset of another kind.

    What was pre-trained is a beginning for every task: its cleaning and length without its head.
    """
    saved = _read_task_file(folder)
    if saved is not None and saved["task"] == PRETRAINED != task:
        return {**saved, "head": None}
    if saved is not None and saved["task"] != task:
        raise PresetNotFound(f"Expected a saved {task} in '{folder}'. Received: a {saved['task']}.")
    return saved


def saved_kind(folder: Path) -> str | None:
    """Return the class name of the task that is saved in a folder, or None if there is none."""
    saved = _read_task_file(folder)
    return None if saved is None else str(saved["task"])


def _read_task_file(folder: Path) -> dict[str, Any] | None:
    file = folder / TASK_FILE
    if not file.is_file():
        return None
    try:
        saved: dict[str, Any] = json.loads(file.read_text("utf-8"))
        saved["task"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptWeights(f"Expected what save_to_preset wrote in '{file}'. Received: {error}.") from error
    return saved


def same_head(head: dict[str, Any], saved: dict[str, Any], settings: Container[str]) -> bool:
    """Whether a saved head's weights fit a head, so that they can be loaded; `settings` do not change the weights."""
    return all(head[name] == value for name, value in saved.items() if name not in settings)


def make_preprocessor(encoder: Encoder, max_length: int, cleaner: TextCleaner | None) -> TextPreprocessor:
    """Return the preprocessor that fits an encoder."""
    longest = getattr(encoder.backbone, "max_sequence_length", None) or 512
    return TextPreprocessor(
        encoder.tokenizer,
        max_length=min(max_length, longest),
        cleaner=cleaner,
        segment_ids="segment_ids" in encoder.backbone.input,
    )
