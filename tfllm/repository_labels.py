"""Labels of model versions, and the `models.config` that tells TensorFlow Serving of them.

`<root>/models.config` lists every model under the root, with the versions to serve and their labels. It is written
anew as a whole, by one rename or as one object, under a lock that all writers take, so that a server never reads half
of it and no label is lost between two publishers. The root is a folder, or an address such as `gs://bucket/models`.
Standard library only.
"""

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tfllm.errors import RepositoryError
from tfllm.repository import ModelVersion, find_version, list_models, list_versions
from tfllm.repository_locks import locked
from tfllm.repository_paths import absolute, located, reaches_first, reaching, read_text, write_text
from tfllm.repository_removal import end_removals, remove_version

logger = logging.getLogger(__name__)

LABELS_FILE = ".labels.json"
"""Label -> version, in a model's folder."""

CONFIG_FILE = "models.config"
"""TensorFlow Serving's list of models, in the root."""

STABLE = "stable"


@reaches_first
def read_labels(base_path: str | os.PathLike[str]) -> dict[str, int]:
    """Return label -> version of a model; none if it has no labels.

    Raises:
        RepositoryError: the file of the labels is damaged.
    """
    return _read_state(located(base_path)).labels


@reaches_first
def labels_of(base_path: str | os.PathLike[str], versions: Iterable[ModelVersion]) -> dict[str, int]:
    """Return label -> version of a model, where the version is one of these.

    Raises:
        RepositoryError: the file of the labels is damaged.
    """
    there = {item.version for item in versions}
    return {label: number for label, number in read_labels(base_path).items() if number in there}


@reaches_first
def set_label(base_path: str | os.PathLike[str], label: str, version: int | None) -> dict[str, int]:
    """Give a label to a version, or take it away with None; `models.config` follows.

    Returns:
        the model's labels.

    Raises:
        VersionNotFound: there is no such version, or no model.
        RepositoryError: the label is no name, no version has the label to take away, or the folder cannot be written.
    """
    base = located(base_path)
    if not label.replace("-", "_").isidentifier():
        raise RepositoryError(f"Expected a label of letters, digits, '-' and '_'. Received: {label!r}.")
    with locked(base.parent):
        if version is not None or not (base / LABELS_FILE).exists():
            find_version(base, version)
        state = _read_state(base)
        before = state.labels.pop(label, None)
        if before is None and version is None:
            raise RepositoryError(
                f"Expected a label of '{base}' to take away. Received: {label!r}. Available: {state.labels}."
            )
        if version is not None:
            state.labels[label] = version
        if before not in (None, version):
            state.previous.setdefault(label, []).append(before)
        _write_state(base, state)
        write_config(base.parent)
        return dict(state.labels)


@reaches_first
def rollback(base_path: str | os.PathLike[str], label: str = STABLE) -> int:
    """Give a label back to the version that had it before, or else to the version before the one that has it.

    A second rollback goes back further, and never forward to the version that was left.

    Returns:
        the version that has the label now.

    Raises:
        RepositoryError: nothing is labelled so, or there is no version before it.
    """
    base = located(base_path)
    with locked(base.parent):
        state = _read_state(base)
        if label not in state.labels:
            raise RepositoryError(
                f"Expected a version of '{base}' that is labelled '{label}'. Available: {state.labels}."
            )
        numbers = [item.version for item in list_versions(base)]
        now = state.labels[label]
        before = [number for number in state.previous.get(label, []) if number in numbers and number != now]
        older = before or [number for number in numbers if number < now]
        if not older:
            raise RepositoryError(f"Expected a version of '{base}' before {now}. Available: {numbers}.")
        state.labels[label] = older[-1]
        state.previous[label] = before[:-1]
        _write_state(base, state)
        write_config(base.parent)
        return older[-1]


@reaches_first
def prune(base_path: str | os.PathLike[str], keep: int = 3) -> list[ModelVersion]:
    """Remove old versions; the newest ones and all that have a label stay.

    Args:
        base_path: the model's folder.
        keep: how many of the newest versions stay.

    Returns:
        the versions that were removed.

    Raises:
        VersionNotFound: there is no model.
        RepositoryError: `keep` is below 1, or a folder cannot be removed.
    """
    if keep < 1:
        raise RepositoryError(f"Expected to keep at least 1 version. Received: keep={keep}.")
    base = located(base_path)
    with locked(base.parent):
        find_version(base)
        labelled = set(read_labels(base).values())
        gone = [item for item in list_versions(base)[:-keep] if item.version not in labelled]
        end_removals(base)
        for item in gone:
            remove_version(item.path)
        if _has_our_config(base.parent):
            write_config(base.parent)
    return gone


def refresh_config(base_path: str | os.PathLike[str]) -> None:
    """Write `models.config` anew after a model has got a version: it names the newest ones.

    Nothing is written where no model has had labels: a `models.config` that is there then is somebody else's. What goes
    wrong is logged, since the version is there.
    """
    root = absolute(base_path).parent
    try:
        with reaching(root):
            if _has_our_config(root):
                with locked(root):
                    write_config(root)
    except (OSError, RepositoryError) as error:
        logger.warning("'%s' does not name the new version of '%s': %s", root / CONFIG_FILE, base_path, error)


def _has_our_config(root: Path) -> bool:
    return (root / CONFIG_FILE).exists() and any((entry / LABELS_FILE).is_file() for entry in root.iterdir())


@reaches_first
def write_config(root: str | os.PathLike[str]) -> Path:
    """Write `models.config` of all models under a root: the newest version and the labelled ones are served.

    TensorFlow Serving needs `--allow_version_labels_for_unavailable_models` to start with labels.
    """
    folder = located(root)
    lines = ["model_config_list {"]
    for name, versions in list_models(folder).items():
        labels = labels_of(folder / name, versions)
        lines += ["  config {", f"    name: {json.dumps(name)}"]
        lines += [f"    base_path: {json.dumps(str(absolute(folder / name)))}", '    model_platform: "tensorflow"']
        if labels:
            served = " ".join(f"versions: {number}" for number in sorted({*labels.values(), versions[-1].version}))
            lines.append(f"    model_version_policy {{ specific {{ {served} }} }}")
        for label, number in sorted(labels.items()):
            lines.append(f"    version_labels {{ key: {json.dumps(label)} value: {number} }}")
        lines.append("  }")
    file = folder / CONFIG_FILE
    write_text(file, "\n".join([*lines, "}", ""]))
    return file


@dataclass
class _State:
    """What `.labels.json` holds: label -> version, and label -> the versions that had it before, the last one last."""

    labels: dict[str, int]
    previous: dict[str, list[int]]


def _read_state(base: Path) -> _State:
    file = base / LABELS_FILE
    try:
        text = read_text(file)
        stored = {"labels": {}} if text is None else json.loads(text)
        labels = {str(label): int(version) for label, version in stored["labels"].items()}
        before = stored.get("previous", {}).items()
        return _State(labels, {label: [one] if isinstance(one, int) else list(map(int, one)) for label, one in before})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RepositoryError(f"Expected labels in '{file}'. Received: {error}. Delete it to start anew.") from error


def _write_state(base: Path, state: _State) -> None:
    write_text(base / LABELS_FILE, json.dumps(asdict(state), indent=2) + "\n")
