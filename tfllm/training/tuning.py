"""Search for good settings: `tune`, by Optuna."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import optuna

from tfllm.config import make_settings
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError
from tfllm.tasks.base import Task
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.settings import FineTuneConfig

Range = tuple[float, float]
Choices = list[Any]


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    Attributes:
        best: the settings of the best trial, those that were searched and those that were given.
        value: its value of the monitored quantity, of its best epoch.
        monitor: that quantity, such as "val_accuracy".
        trials: one row a finished or stopped trial: `trial`, the settings searched, the value, `state`.

    Example:
        >>> rows = [{"trial": 0, "batch_size": 16, "val_accuracy": 0.9, "state": "complete"}]
        >>> TuneResult({"batch_size": 16}, 0.9, "val_accuracy", rows).best
        {'batch_size': 16}
    """

    best: dict[str, Any]
    value: float
    monitor: str
    trials: list[dict[str, Any]]


def tune(
    make_model: Callable[[], Task],
    train: TextDataset,
    *,
    validation_data: TextDataset,
    search: Mapping[str, Range | Choices],
    run_dir: str | os.PathLike[str],
    trials: int = 20,
    **settings: Any,
) -> TuneResult:
    """Search for the settings of `fine_tune` that do best on validation rows.

    Trials are chosen by Optuna's TPE; one that is worse than the median of the others after as many epochs is stopped.
    The study is a file in `run_dir`: the same call again goes on until `trials` are finished, and a trial that was cut
    goes on where it was.

    Args:
        make_model: makes a fresh model for each trial.
        train: the training rows.
        validation_data: rows to judge each epoch by.
        search: field of `FineTuneConfig` -> a pair (lowest, highest), drawn from a logarithmic scale if the highest is
            ten times the lowest or more, or a list of choices.
        run_dir: the folder of the study; each trial has a run folder in it, which `tfllm runs` lists.
        trials: how many.
        **settings: the other fields of `FineTuneConfig`.

    Returns:
        The best settings, and all trials.

    Raises:
        ConfigError: nothing to search, or a setting is both given and searched.
        UnknownSetting: a setting does not exist.

    Reference:
        Bergstra et al., 2011, "Algorithms for hyper-parameter optimization" (TPE); Akiba et al., 2019, "Optuna".

    Example:
        >>> import tempfile
        >>> import pandas as pd
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> data = TextDataset(pd.DataFrame({"text": ["good", "bad"] * 4, "label": ["1", "0"] * 4}))
        >>> result = tune(lambda: TextClassifier.from_preset("micro_bert", labels=data.labels), data,
        ...               validation_data=data, search={"learning_rate": (1e-4, 1e-2)}, trials=1, epochs=1,
        ...               run_dir=tempfile.mkdtemp())
        >>> sorted(result.best)
        ['epochs', 'learning_rate']
    """
    _check(search, settings)
    folder = Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    study, monitor = _open(folder, make_model().monitor, int(settings.get("seed", 0)))

    def objective(trial: optuna.Trial) -> float:
        chosen = {name: _suggest(trial, name, space) for name, space in search.items()}
        keras.utils.set_random_seed(int(settings.get("seed", 0)))
        history = fine_tune(
            make_model(),
            train,
            validation_data=validation_data,
            run_dir=folder / _name(chosen),
            progress=False,
            callbacks=[_Report(trial, monitor)],
            **settings,
            **chosen,
        )
        return _best(study, [row[monitor] for row in history.epochs])

    left = trials - sum(trial.state in _ENDED for trial in study.trials)
    if left > 0:
        study.optimize(objective, n_trials=left)
    rows = [
        {"trial": trial.number, **trial.params, monitor: trial.value, "state": trial.state.name.lower()}
        for trial in study.trials
        if trial.state in _ENDED
    ]
    return TuneResult({**settings, **study.best_params}, study.best_value, monitor, rows)


_ENDED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)


def _check(search: Mapping[str, Range | Choices], settings: dict[str, Any]) -> None:
    both = sorted(search.keys() & settings.keys())
    if not search or both:
        raise ConfigError(
            f"Expected settings to search that are not given too. Received: search={dict(search)}, {both}."
        )
    for name, space in search.items():
        if not isinstance(space, tuple | list) or not space or (isinstance(space, tuple) and len(space) != 2):
            raise ConfigError(f"Expected (lowest, highest) or a list of choices for {name}. Received: {space!r}.")
        for value in space:
            make_settings(FineTuneConfig, {**settings, name: value})


def _open(folder: Path, monitor: tuple[str, str], seed: int) -> tuple[optuna.Study, str]:
    """Open the study of a folder; trials that were cut short come first again."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}",
        study_name="tune",
        direction="maximize" if monitor[1] == "max" else "minimize",
        pruner=optuna.pruners.MedianPruner(),
        load_if_exists=True,
    )
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))  # a study that goes on draws anew
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study, monitor[0]


def _suggest(trial: optuna.Trial, name: str, space: Range | Choices) -> Any:
    if isinstance(space, list):
        return trial.suggest_categorical(name, space)
    low, high = space
    log = low > 0 and high >= 10 * low
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def _name(chosen: Mapping[str, Any]) -> str:
    return ",".join(
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}" for name, value in chosen.items()
    )


def _best(study: optuna.Study, values: list[float]) -> float:
    return max(values) if study.direction == optuna.study.StudyDirection.MAXIMIZE else min(values)


class _Report(keras.callbacks.Callback):
    """Tells Optuna of each epoch, and stops a trial that Optuna gives up.

    Args:
        trial: the trial.
        monitor: what it is judged by.
    """

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        super().__init__()
        self.trial, self.monitor = trial, monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell of the epoch."""
        self.trial.report(float((logs or {})[self.monitor]), epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned
