"""Fine-tune a task on labelled text: `fine_tune`."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras

from tfllm.config import make_settings, takes_settings
from tfllm.data.pipeline import TrainingRows
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError
from tfllm.tasks.base import Task
from tfllm.training.averaging import use_averages
from tfllm.training.callbacks import ProgressBar
from tfllm.training.class_weights import row_weights
from tfllm.training.compilation import choose_jit
from tfllm.training.interruption import Workers
from tfllm.training.loop import TrainingLoop, plan_of
from tfllm.training.preparation import compile_with, computing, run_optimizer
from tfllm.training.run_folder import RunFolder
from tfllm.training.running import go_on, run_listeners
from tfllm.training.settings import CHANGEABLE, FineTuneConfig
from tfllm.training.steps import Steps
from tfllm.training.trainable import GradualUnfreezing, chosen_weights, rate_factors


@dataclass(frozen=True)
class History:
    """What a run measured.

    Attributes:
        epochs: one row an epoch: `loss`, the metrics, `val_` of each, `learning_rate`, `seconds` (training alone),
            `examples_per_second`, `tokens_per_second` (without padding), `padding` (its share of what was computed).
        run_dir: where it is stored, or None.
    """

    epochs: list[dict[str, Any]]
    run_dir: str | None


@takes_settings(FineTuneConfig)
def fine_tune(
    model: Task,
    train: TextDataset,
    *,
    validation_data: TextDataset | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **settings: Any,
) -> History:
    """Fine-tune a task on labelled text.

    AdamW with linear warm-up and decay, as encoders are fine-tuned (Devlin et al., 2019, appendix A.3), unless the
    settings say otherwise. Rows of like length share a batch, which is padded to its longest row or a little
    more. `model` is trained in place.

    With a `run_dir`, each epoch is stored (history as JSON lines, learning curves as PNG, model and optimizer), and the
    state every `checkpoint_minutes` or `checkpoint_steps`. The same call again continues after the last step that was
    stored, and ends as if it had never stopped; a run that has ended is loaded. SIGTERM stores the state and raises
    `Preempted`.

    A model made under a strategy (see `get_strategy`) trains on all of its replicas, with the same numbers as on one
    device: a step is one batch of `batch_size` rows, or of `batch_tokens` tokens, wherever its rows are.

    Args:
        model: the task.
        train: the training rows.
        validation_data: rows to judge each epoch by.
        run_dir: the run folder, or None to store nothing.
        progress: show a bar and a line an epoch on standard error.
        callbacks: Keras callbacks to call as well; with `run_dir`, a callback's own state is not stored. During the
            training of a task that pools the first token, its backbone gives no other token of the last layer.
        **settings: the fields of `FineTuneConfig`, such as `epochs=3`.

    Returns:
        The history.

    Raises:
        UnknownSetting: a setting does not exist.
        UnknownLabel: rows, or `class_weight`, have labels that the model does not know.
        ConfigError: a setting is out of its range, or does not go with another, the model or the rows.
        ResumeMismatch: `run_dir` belongs to a run with other settings, data or model.
        NonFiniteLoss: the loss became NaN or infinite; the message names the step, its rows and the learning rate.
        Preempted: the process got SIGTERM; the run is stored in `run_dir`. Without one, SIGTERM ends the process.

    Example:
        >>> import pandas as pd
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> frame = pd.DataFrame({"text": ["good", "bad", "great", "poor"], "label": ["1", "0", "1", "0"]})
        >>> data = TextDataset(frame)
        >>> model = TextClassifier.from_preset("micro_bert", labels=data.labels)
        >>> history = fine_tune(model, data, epochs=2, batch_size=2, progress=False)
        >>> [row["epoch"] for row in history.epochs]
        [1, 2]
    """
    config = make_settings(FineTuneConfig, settings)
    for name, data in {"train": train, "validation_data": validation_data}.items():
        if data is not None and not isinstance(data, TextDataset):
            raise ConfigError(
                f"Expected {name} as a TextDataset. Received: {type(data).__name__}. Load it with tfllm.load_dataset."
            )
    model.pairs = model.serves_pairs(train)
    if (config.patience or config.restore_best) and validation_data is None:
        raise ConfigError("Expected validation_data with patience or restore_best. Received: none.")
    if config.r_drop and model.disagreement is None:
        raise ConfigError(f"Expected r_drop with a task that answers with classes. Received: {type(model).__name__}.")
    rows = model.training_rows(train)
    validation = None if validation_data is None else model.training_rows(validation_data)
    bar = ProgressBar()
    listeners = [*([bar] if progress and _writes(model) else []), *callbacks]
    with contextlib.closing(bar), tempfile.TemporaryDirectory() as scratch:
        if run_dir is None:
            run = RunFolder(scratch, {}, lasting=False)
            return History(_train(model, rows, validation, config, run, listeners), None)
        identity = run_identity(model, train, validation_data, config)
        run = RunFolder(run_dir, identity, keep=config.keep_checkpoints, writes=_writes(model))
        listeners += run_listeners(run, config.epochs, progress=progress)
        return History(_train(model, rows, validation, config, run, listeners), str(run.path))


def _writes(model: Task) -> bool:
    return Workers(model.distribute_strategy).is_first


def _train(
    model: Task,
    rows: TrainingRows,
    validation: TrainingRows | None,
    config: FineTuneConfig,
    run: RunFolder,
    listeners: list[keras.callbacks.Callback],
) -> list[dict[str, Any]]:
    keras.utils.set_random_seed(config.seed)
    with (
        chosen_weights(model, freeze=config.freeze, lora_rank=config.lora_rank),
        computing(model, config),
    ):
        unfreezing = _compile(model, config, rows)
        _run(model, rows, validation, config, run, [*unfreezing, *listeners])
    return run.history


def _run(
    model: Task,
    rows: TrainingRows,
    validation: TrainingRows | None,
    config: FineTuneConfig,
    run: RunFolder,
    listeners: list[keras.callbacks.Callback],
) -> None:
    weights = row_weights(model, rows.targets, config.class_weight)
    steps = Steps(model, config.r_drop, jit_compile=choose_jit(config, model))
    loop = TrainingLoop(model, steps, rows, validation, config, weights)
    go_on(loop, run, listeners, patience=config.patience, keep_best=config.restore_best)
    use_averages(model)
    if config.restore_best:
        Workers(model.distribute_strategy).wait_for_all()  # the first one may still write the file
        run.restore_best(model)


def _compile(model: Task, config: FineTuneConfig, rows: TrainingRows) -> list[keras.callbacks.Callback]:
    """Give the model its optimizer; return what the optimizer needs to be called."""
    steps = sum(len(plan_of(rows.lengths, config, epoch)) for epoch in range(config.epochs))
    with model.distribute_strategy.scope():
        optimizer = run_optimizer(config, steps, average=config.ema)
        if config.layer_decay < 1:
            optimizer.factors = rate_factors(model, config.layer_decay)
        unfreezing = [] if config.unfreeze is None else [GradualUnfreezing(model, optimizer, config.unfreeze)]
        compile_with(model, optimizer, config)
    return unfreezing


def run_identity(
    model: Task, train: TextDataset, validation: TextDataset | None, config: FineTuneConfig
) -> dict[str, Any]:
    """Return what makes a run the same run: settings, data and model.

    Args:
        model: the task; its `pairs` are those of the training rows.
        train: the training rows.
        validation: the rows to judge each epoch by, or None.
        config: the settings.

    Returns:
        Plain data, by name.
    """
    shapes = "".join(f"{variable.path}{tuple(variable.shape)}" for variable in model.trainable_variables)
    return {
        **{name: value for name, value in asdict(config).items() if name not in CHANGEABLE},
        "train_data": train.fingerprint,
        "validation_data": None if validation is None else validation.fingerprint,
        "task": type(model).__name__,
        "preset": model.preset,
        "pairs": model.pairs,
        "head": model.head_config(),
        "max_length": model.preprocessor.max_length,
        "cleaner": model.preprocessor.cleaner.get_config(),
        "vocabulary": model.vocabulary_hash,
        "weights_shape": hashlib.sha256(shapes.encode()).hexdigest(),
    }
