"""Pre-train an encoder on raw text: `pretrain`."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from tfllm.config import make_settings, takes_settings
from tfllm.data.corpus import Corpus, CorpusSource
from tfllm.errors import ConfigError
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.training.callbacks import ProgressBar
from tfllm.training.fine_tuning import History
from tfllm.training.interruption import Workers
from tfllm.training.preparation import compile_with, computing, run_optimizer
from tfllm.training.pretraining_loop import PretrainingLoop
from tfllm.training.pretraining_settings import PretrainConfig
from tfllm.training.run_folder import RunFolder
from tfllm.training.running import go_on, run_listeners
from tfllm.training.settings import CHANGEABLE
from tfllm.training.steps import Steps
from tfllm.training.token_store import TokenStore, write_stores


@takes_settings(PretrainConfig)
def pretrain(
    model: MaskedLM,
    corpus: CorpusSource,
    *,
    validation_data: CorpusSource | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **settings: Any,
) -> History:
    """Pre-train an encoder on raw text by masked words, or go on with the pre-training of a preset.

    The corpus is tokenized once, as a stream, into a file of token ids; rows are read from it by their numbers. So
    neither texts nor tokens are held in memory, and a run goes on at any step. A row is as long as the model's
    `max_length`: documents are packed one after the other, with the separator between them (Liu et al., 2019,
    "RoBERTa", section 4.2, "full sentences"). Masks are drawn anew each time that a row comes.

    With a `run_dir`, the run is stored as `fine_tune` stores its runs, and the same call again continues it after the
    last step that was stored. The ids are in `run_dir/corpus`, four bytes a token; you can remove them at the end.

    `model` is trained in place. `model.save_to_preset(folder)` then makes it a preset for every task.

    Args:
        model: the model, made under the strategy to train with (see `get_strategy`).
        corpus: a folder of `.txt` files, one file, a list of files, or texts that can be iterated over more than once;
            see `tfllm.data.corpus.Corpus`.
        validation_data: a corpus to judge each epoch by.
        run_dir: the run folder, or None to store nothing.
        progress: show a bar and a line an epoch on standard error.
        callbacks: Keras callbacks to call as well.
        **settings: the fields of `PretrainConfig`, such as `steps_per_epoch=1000`.

    Returns:
        The history: a row an epoch with `loss`, the mean cross-entropy of a masked token in nats, and `accuracy`.

    Raises:
        UnknownSetting: a setting does not exist.
        ConfigError: settings contradict each other, or the model is none to pre-train.
        DataError: the corpus cannot be read, or has less than a row.
        ResumeMismatch: `run_dir` belongs to a run with other settings, another corpus or another model.
        NonFiniteLoss: the loss became NaN or infinite.
        Preempted: the process got SIGTERM; the run is stored in `run_dir`. Without one, SIGTERM ends the process.

    Example:
        >>> from tfllm.tasks.masked_lm import MaskedLM
        >>> model = MaskedLM.from_preset("micro_bert", max_length=16)
        >>> texts = ["the film was good and the food was great"] * 20
        >>> history = pretrain(model, texts, epochs=1, steps_per_epoch=2, batch_size=4, progress=False)
        >>> [row["epoch"] for row in history.epochs]
        [1]
    """
    config = make_settings(PretrainConfig, settings)
    _check(model, validation_data, config)
    texts = Corpus(corpus)
    held_out = None if validation_data is None else Corpus(validation_data)
    bar = ProgressBar()
    writes = Workers(model.distribute_strategy).is_first
    listeners = [*([bar] if progress and writes else []), *callbacks]
    with contextlib.closing(bar), tempfile.TemporaryDirectory() as scratch:
        if run_dir is None:
            stores = _stores(model, texts, held_out, config, Path(scratch, "corpus"), writes=True)
            return History(_train(model, *stores, config, RunFolder(scratch, {}, lasting=False), listeners), None)
        run = RunFolder(run_dir, _identity(model, texts, held_out, config), keep=config.keep_checkpoints, writes=writes)
        listeners += run_listeners(run, config.epochs, progress=progress)
        stores = _stores(model, texts, held_out, config, run.path / "corpus", writes=writes)
        return History(_train(model, *stores, config, run, listeners), str(run.path))


def _check(model: MaskedLM, validation_data: CorpusSource | None, config: PretrainConfig) -> None:
    if not isinstance(model, MaskedLM):
        raise ConfigError(
            f"Expected a MaskedLM. Received: {type(model).__name__}. See MaskedLM.from_preset and from_scratch."
        )
    if validation_data is not None and config.validation_fraction:
        raise ConfigError("Expected either validation_data or validation_fraction. Received: both.")
    parts = config.accumulate * model.distribute_strategy.num_replicas_in_sync
    if config.batch_size < parts:
        raise ConfigError(
            f"Expected a batch_size of at least accumulate * replicas = {parts}. Received: {config.batch_size}."
        )


def _stores(
    model: MaskedLM, corpus: Corpus, held_out: Corpus | None, config: PretrainConfig, folder: Path, *, writes: bool
) -> tuple[TokenStore, TokenStore | None]:
    def stores_of(texts: Corpus, folder: Path, fraction: float) -> tuple[TokenStore, TokenStore]:
        return write_stores(
            folder,
            texts,
            model.preprocessor.tokenize,
            identity={"corpus": texts.fingerprint(), "held_out": fraction, **_tokens_identity(model)},
            separator=model.preprocessor.tokenizer.end_token_id,
            row_length=_row_length(model),
            held_out=fraction,
            writes=writes,
        )

    training, apart = stores_of(corpus, folder, config.validation_fraction)
    if held_out is not None:
        return training, stores_of(held_out, folder / "validation", 0.0)[0]
    return training, apart if config.validation_fraction else None


def _row_length(model: MaskedLM) -> int:
    if model.sentence_head is None:
        return model.preprocessor.room()
    return model.preprocessor.room(pairs=True) // 2 * 2  # two halves of the same length


def _train(
    model: MaskedLM,
    rows: TokenStore,
    validation: TokenStore | None,
    config: PretrainConfig,
    run: RunFolder,
    listeners: list[keras.callbacks.Callback],
) -> list[dict[str, Any]]:
    keras.utils.set_random_seed(config.seed)
    with computing(model, config):
        with model.distribute_strategy.scope():
            compile_with(model, run_optimizer(config, config.epochs * config.steps_per_epoch), config)
        go_on(PretrainingLoop(model, Steps(model), rows, validation, config), run, listeners)
    return run.history


def _tokens_identity(model: MaskedLM) -> dict[str, Any]:
    return {"vocabulary": model.vocabulary_hash, "cleaner": model.preprocessor.cleaner.get_config()}


def _identity(model: MaskedLM, corpus: Corpus, held_out: Corpus | None, config: PretrainConfig) -> dict[str, Any]:
    """What makes a run the same run."""
    shapes = "".join(f"{variable.path}{tuple(variable.shape)}" for variable in model.trainable_variables)
    return {
        **{name: value for name, value in asdict(config).items() if name not in CHANGEABLE},
        "corpus": corpus.fingerprint(),
        "validation_data": None if held_out is None else held_out.fingerprint(),
        "preset": model.preset,
        "head": model.head_config(),
        "max_length": model.preprocessor.max_length,
        **_tokens_identity(model),
        "weights_shape": hashlib.sha256(shapes.encode()).hexdigest(),
    }
