"""What loading a task needs beside the task: the file that `save_to_preset` wrote, and the encoder's preprocessor."""

import json
from pathlib import Path
from typing import Any

from tfllm.data.cleaning import TextCleaner
from tfllm.errors import CorruptWeights, PresetNotFound
from tfllm.presets import Encoder
from tfllm.tasks.preprocessing import TextPreprocessor

TASK_FILE = "tfllm.json"


def read_saved(folder: Path, task: str) -> dict[str, Any] | None:
    """Return what `save_to_preset` wrote of a task, or None for a preset of another kind."""
    file = folder / TASK_FILE
    if not file.is_file():
        return None
    try:
        saved: dict[str, Any] = json.loads(file.read_text("utf-8"))
        kind = saved["task"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptWeights(f"Expected what save_to_preset wrote in '{file}'. Received: {error}.") from error
    if kind != task:
        raise PresetNotFound(f"Expected a saved {task} in '{folder}'. Received: a {kind}.")
    return saved


def same_head(head: dict[str, Any], saved: dict[str, Any]) -> bool:
    """Whether a saved head's weights fit a head, so that they can be loaded."""
    return all(head[name] == value for name, value in saved.items() if name != "dropout")


def make_preprocessor(encoder: Encoder, max_length: int | None, cleaner: TextCleaner | None) -> TextPreprocessor:
    """Return the preprocessor that fits an encoder."""
    longest = getattr(encoder.backbone, "max_sequence_length", None) or 512
    return TextPreprocessor(
        encoder.tokenizer,
        max_length=min(max_length or 128, longest),
        cleaner=cleaner,
        segment_ids="segment_ids" in encoder.backbone.input,
    )
