"""What is served follows the configuration and the disk: load first, then swap, then drain.

A version that cannot be loaded never takes the place of one that answers; its error stays in its status, and it is
tried again once its files change.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfllm.errors import CallError, FailedPrecondition, ModelNotFound, RepositoryError, Timeout
from tfllm.repository import ModelVersion, list_versions
from tfllm.repository_labels import read_labels
from tfllm.server.engine import Engine
from tfllm.server.model_config import ModelConfig
from tfllm.server.observers import current_event
from tfllm.server.versions import ServedVersion, State

if TYPE_CHECKING:
    from tfllm.server.servable import Servable

logger = logging.getLogger(__name__)
_Stamp = tuple[tuple[str, int, int], ...]


class ModelManager:
    """Loads and unloads the versions of an engine.

    Args:
        engine: what answers.
        load: loads a version from disk.
        allow_labels_for_unavailable: whether a label that is not in use may name a version that is not loaded.
        on_change: called after each change of what is served.
    """

    def __init__(
        self,
        engine: Engine,
        load: "Callable[[ModelVersion], Servable]",
        *,
        allow_labels_for_unavailable: bool = False,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._load = load
        self._allow_labels = allow_labels_for_unavailable
        self._on_change = on_change
        self._configs: dict[str, ModelConfig] = {}
        self._followed: dict[str, dict[str, int]] = {}  # the labels that folders keep, as they were last seen
        self._stamps: dict[tuple[str, int], _Stamp] = {}  # of the files of versions that failed
        self._complaints: dict[str, str] = {}
        self._loading = threading.Lock()  # held as long as it takes
        self._naming = threading.Lock()  # of configurations and labels; never held for long

    def reload(self, configs: Sequence[ModelConfig]) -> list[ServedVersion]:
        """Serve these models and no others, and return the versions that could not be loaded.

        The new versions answer when this returns; requests under way on the old ones may not have ended. While versions
        are being loaded a reload waits, unless labels are all that it changes: going back to a version takes no time.

        Raises:
            CallError: the configuration cannot be right, or the caller has gone while it waited; then nothing has
                changed.
        """
        if self._loading.locked() and self._relabel(configs):
            return []
        with self._turn():
            self._check_labels(configs)
            followed = {config.name: read_labels(config.base_path) for config in configs if config.follows_labels}
            wanted = {config.name: self._wanted(config, followed.get(config.name, {})) for config in configs}
            with self._naming:
                self._configs = {config.name: config for config in configs}
                self._followed = followed
            self._stamps.clear()
            failed = [item for sources in wanted.values() for item in self._load_missing(sources)]
            with self._naming:
                self._set_labels()
            for name in self._engine.models:
                self._retire(name, wanted.get(name, []))
            self._on_change()
            return failed

    def poll(self) -> None:
        """Look for versions that came or went on disk, and for labels that moved where they are followed."""
        with self._loading:
            for config in self._configs.values():
                try:
                    self._look_at(config)
                except (CallError, OSError, RepositoryError) as error:  # the folder is gone: what is served stays
                    self._complain(config.name, str(error))
                else:
                    self._complaints.pop(config.name, None)
            self._on_change()

    def _look_at(self, config: ModelConfig) -> None:
        sources = self._wanted(config, self._take_up_labels(config))  # a label of what is loaded need not wait
        self._load_missing(sources)
        if config.follows_labels:  # labels may have moved meanwhile, and versions were kept for what is loaded now
            sources = self._wanted(config, self._take_up_labels(config))
        self._retire(config.name, sources)

    def _take_up_labels(self, config: ModelConfig) -> dict[str, int]:
        if not config.follows_labels:
            return {}
        labels = read_labels(config.base_path)
        with self._naming:
            self._followed[config.name] = labels
            self._set_labels()
        return labels

    def _wanted(self, config: ModelConfig, labels: Mapping[str, int]) -> list[ModelVersion]:
        """Return the versions to serve, oldest first: the policy's, and where labels are followed those that have one.

        Those that have one now stay until it has moved. Where none of the policy's own can answer, the newest that can
        stays.

        Raises:
            ModelNotFound: there are none.
        """
        if not config.base_path.is_dir():
            raise ModelNotFound(f"Could not find base path {config.base_path} for servable {config.name}")
        versions = list_versions(config.base_path)
        numbers = {source.version for source in config.policy.choose(versions)}
        if config.follows_labels:
            available = self._engine.models.get(config.name, ())
            if available and numbers.isdisjoint(available):
                numbers.add(max(available))
            numbers |= {*labels.values(), *self._engine.labels.get(config.name, {}).values()}
        chosen = [replace(source, name=config.name) for source in versions if source.version in numbers]
        if not chosen:
            raise ModelNotFound(f"No versions of servable {config.name} found under base path {config.base_path}")
        return chosen

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until nobody else loads, as long as the caller of the request does."""
        event = current_event()
        left = -1 if event.deadline is None else max(0.0, event.deadline - time.monotonic())
        if not self._loading.acquire(timeout=left):
            raise Timeout("Deadline Exceeded")
        try:
            if (refusal := event.refusal()) is not None:
                raise refusal
            yield
        finally:
            self._loading.release()

    def _relabel(self, configs: Sequence[ModelConfig]) -> bool:
        """Set the labels now if they are what is new and all that is, and return whether that is so."""
        wanted = {config.name: config for config in configs}
        with self._naming:
            if wanted == self._configs or _unlabelled(wanted) != _unlabelled(self._configs):
                return False  # whoever asks again for what is being loaded hears of it when it is
            self._check_labels(configs)
            if not all(map(_keeps_labelled, configs)):
                return False  # what is being loaded may take such a version away: that has to be seen first
            self._configs = wanted
            self._set_labels()
            return True

    def _set_labels(self) -> None:
        self._engine.set_labels({config.name: self._labels_of(config) for config in self._configs.values()})

    def _labels_of(self, config: ModelConfig) -> dict[str, int]:
        """Return the labels to use; one that is followed stays where it is until its version can answer."""
        if not config.follows_labels:
            return dict(config.labels)
        available = self._engine.models.get(config.name, ())
        now = self._engine.labels.get(config.name, {})
        followed = self._followed.get(config.name, {})
        found = {
            label: next((version for version in (number, now.get(label)) if version in available), None)
            for label, number in followed.items()
        }
        return {label: version for label, version in found.items() if version is not None}

    def _complain(self, name: str, reason: str) -> None:
        if self._complaints.get(name) != reason:  # once, not at each poll
            self._complaints[name] = reason
            logger.warning("Model '%s' keeps its versions: %s", name, reason)

    def _check_labels(self, configs: Iterable[ModelConfig]) -> None:
        available = self._engine.models
        for config in configs:
            in_use = self._engine.labels.get(config.name, {})
            for label, version in config.labels.items():
                allowed = self._allow_labels and label not in in_use
                if version not in available.get(config.name, ()) and not allowed:
                    raise FailedPrecondition(
                        f"Request to assign label to version {version} of model {config.name}, "
                        "which is not currently available for inference"
                    )

    def _load_missing(self, sources: Iterable[ModelVersion]) -> list[ServedVersion]:
        failed = []
        for source in sources:
            current = next((item for item in self._versions(source.name) if _same_number(item, source)), None)
            if current is not None and not self._must_load(current, source):
                continue
            item = ServedVersion(source)
            replaces = current is not None and current.state is State.AVAILABLE  # the model moved to another folder
            if not replaces:
                self._engine.put(item)
            stamp = _stamp(source.path)
            item.load(self._load)
            if item.error is not None:
                failed.append(item)
                self._stamps[source.name, source.version] = stamp
            elif replaces and current is not None:
                self._engine.put(item)
                _unload(current)
        return failed

    def _must_load(self, current: ServedVersion, source: ModelVersion) -> bool:
        if current.state is State.AVAILABLE:
            return current.source.path != source.path
        key = (source.name, source.version)
        return key not in self._stamps or self._stamps[key] != _stamp(source.path)

    def _retire(self, name: str, keep: Sequence[ModelVersion]) -> None:
        """Unload the other versions of a model, unless none of those to keep can answer."""
        numbers = {source.version for source in keep}
        available = [item for item in self._versions(name) if item.state is State.AVAILABLE]
        if keep and not any(item.source.version in numbers for item in available):
            return
        for item in available:
            if item.source.version not in numbers:
                _unload(item)

    def _versions(self, name: str) -> list[ServedVersion]:
        return self._engine.versions(name)


def _keeps_labelled(config: ModelConfig) -> bool:
    """Whether the policy of a model keeps the versions that have labels."""
    kept = {item.version for item in config.policy.choose(list_versions(config.base_path))}
    return kept.issuperset(config.labels.values())


def _unlabelled(configs: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
    return {name: replace(config, labels={}, follows_labels=False) for name, config in configs.items()}


def _same_number(item: ServedVersion, source: ModelVersion) -> bool:
    return item.source.version == source.version


def _unload(item: ServedVersion) -> None:
    item.retire()
    threading.Thread(target=item.drain, name="tfllm-unload", daemon=True).start()


def _stamp(folder: Path) -> _Stamp:
    """Return what changes when a file of a folder does."""
    try:
        files = [(str(file), file.stat()) for file in sorted(folder.rglob("*"))]
    except OSError:  # it is being changed right now
        return ()
    return tuple((name, found.st_mtime_ns, found.st_size) for name, found in files)
