"""Search for good settings: `tune`, by Optuna."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import optuna

from tfllm.config import make_settings
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, NonFiniteLoss, ResumeMismatch, TrainingError
from tfllm.tasks.base import Task
from tfllm.training.fine_tuning import fine_tune, run_identity
from tfllm.training.run_folder import changes
from tfllm.training.runs import list_runs
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
        trials: one row a trial: `trial`, the settings searched, the value, and `state`: complete, pruned (stopped
            early), or failed (its loss was no finite number, so it has no value).

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
    One whose loss is no finite number has failed, and the search goes on. The study is a file in `run_dir`: the same
    call again goes on until `trials` are finished, and a trial that was cut goes on where it was.

    Args:
        make_model: makes a fresh model for each trial.
        train: the training rows.
        validation_data: rows to judge each epoch by.
        search: field of `FineTuneConfig` -> a pair (lowest, highest), drawn from a logarithmic scale if the highest is
            ten times the lowest or more, or a list of choices.
        run_dir: the folder of the study; each trial has a run folder in it, which `tfllm runs` lists.
        trials: how many; another number may be given when the search goes on.
        **settings: the other fields of `FineTuneConfig`.

    Returns:
        The best settings, and all trials.

    Raises:
        ConfigError: nothing to search, no trial, or a setting is both given and searched.
        UnknownSetting: a setting does not exist.
        ResumeMismatch: `run_dir` belongs to another search, or to other data, settings or another model.
        TrainingError: all trials failed.
        Preempted: the process got SIGTERM; the search and its trial are stored.

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
    _check(search, settings, trials)
    folder = Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model()
    study = _open(folder, model.monitor[1], _identity(model, train, validation_data, search, settings))
    study.sampler = optuna.samplers.TPESampler(seed=_seed(settings) + len(study.trials))  # one that goes on draws anew
    monitor = model.monitor[0]

    def objective(trial: optuna.Trial) -> float:
        chosen = {name: _suggest(trial, name, space) for name, space in search.items()}
        keras.utils.set_random_seed(_seed(settings))
        run = folder / _name(chosen)
        with _accounting_for(study, trial):
            _report_earlier(trial, monitor, run)
            history = fine_tune(
                make_model(),
                train,
                validation_data=validation_data,
                run_dir=run,
                progress=False,
                callbacks=[_Report(trial, monitor)],
                **settings,
                **chosen,
            )
            return _best(study, monitor, history.epochs)

    left = trials - sum(trial.state in _ENDED for trial in study.trials)
    if left > 0:
        study.optimize(objective, n_trials=left)
    return _result(study, monitor, settings)


_ENDED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
_FAILED = "failed"
"""The attribute of a trial that failed, which says why."""
_OF = "identity"
"""The attribute of a study that says what is searched, with which data and model."""


@contextlib.contextmanager
def _accounting_for(study: optuna.Study, trial: optuna.Trial) -> Iterator[None]:
    """Account for a trial that does not come to its end: one that was cut is to come again, from its checkpoint.

    Optuna stops the search at an error, and forgets the trial. One that diverged is stored as pruned, not as failed, so
    that the sampler knows that its settings are bad ones.
    """
    try:
        yield
    except NonFiniteLoss as error:
        trial.set_user_attr(_FAILED, str(error))
        raise optuna.TrialPruned from error
    except (KeyboardInterrupt, TrainingError, OSError):
        study.enqueue_trial(trial.params)
        raise


def _result(study: optuna.Study, monitor: str, settings: dict[str, Any]) -> TuneResult:
    rows = [_row(trial, monitor) for trial in study.trials if trial.state in _ENDED]
    if not any(row["state"] == "complete" for row in rows):
        reason = next(trial.user_attrs[_FAILED] for trial in study.trials if _FAILED in trial.user_attrs)
        raise TrainingError(
            f"Expected a trial that ends. Received: {len(rows)} that failed, the first with: {reason} "
            "Search lower learning rates, in another run_dir."
        )
    return TuneResult({**settings, **study.best_params}, study.best_value, monitor, rows)


def _row(trial: optuna.trial.FrozenTrial, monitor: str) -> dict[str, Any]:
    failed = _FAILED in trial.user_attrs
    state = "failed" if failed else trial.state.name.lower()
    return {"trial": trial.number, **trial.params, monitor: None if failed else trial.value, "state": state}


def _seed(settings: Mapping[str, Any]) -> int:
    return int(settings.get("seed", 0))


def _check(search: Mapping[str, Range | Choices], settings: dict[str, Any], trials: int) -> None:
    if trials < 1:
        raise ConfigError(f"Expected trials of at least 1. Received: trials={trials}.")
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


def _identity(
    model: Task,
    train: TextDataset,
    validation: TextDataset,
    search: Mapping[str, Range | Choices],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """What makes a search the same search."""
    model.pairs = model.serves_pairs(train)
    fixed = run_identity(model, train, validation, make_settings(FineTuneConfig, settings))
    spaces = {
        f"search {name}": f"{space[0]!r}..{space[1]!r}" if isinstance(space, tuple) else space
        for name, space in search.items()
    }
    identity = {name: value for name, value in fixed.items() if name not in search}
    return json.loads(json.dumps({**identity, **spaces, "monitor": model.monitor[0]}))


def _open(folder: Path, direction: str, identity: dict[str, Any]) -> optuna.Study:
    """Open the study of a folder; trials that were killed come first again."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}",
        study_name="tune",
        direction="maximize" if direction == "max" else "minimize",
        pruner=optuna.pruners.MedianPruner(),
        load_if_exists=True,
    )
    known = study.user_attrs.get(_OF, {})
    if study.trials and known != identity:
        raise ResumeMismatch(
            f"The folder '{folder}' belongs to another search. Changed: {changes(known, identity)}. "
            "Use another run_dir, or remove the folder to start again."
        )
    study.set_user_attr(_OF, identity)
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.enqueue_trial(trial.params)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


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


def _report_earlier(trial: optuna.Trial, monitor: str, run: Path) -> None:
    """Tell Optuna of the epochs that a trial had done when it was cut."""
    for earlier in list_runs(run) if run.is_dir() else []:
        for row in earlier.epochs:
            trial.report(row[monitor], row["epoch"] - 1)


def _best(study: optuna.Study, monitor: str, epochs: list[dict[str, Any]]) -> float:
    values = [row[monitor] for row in epochs if math.isfinite(row[monitor])]
    if not values:
        raise NonFiniteLoss(f"Expected a finite {monitor}. Received: {[row[monitor] for row in epochs]}.")
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
