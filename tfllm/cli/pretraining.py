"""`tfllm pretrain`."""

import time
from pathlib import Path
from typing import Any

import click

from tfllm.cli.options import config_option, settings_options
from tfllm.cli.output import say
from tfllm.cli.quiet import import_tensorflow
from tfllm.cli.training import print_rows
from tfllm.config import make_settings
from tfllm.errors import ConfigError
from tfllm.training.pretraining_settings import PretrainConfig

_WAIT_SECONDS = 1.0
_VOCABULARY = ("vocabulary", "vocabulary_size")
_SIZES = ("lowercase", "family", "layers", "width", "heads", "dropout")
_HEAD = ("max_length", "mask_rate", "whole_words", "sentence_head")


@click.command()
@click.argument("corpus", type=click.Path())
@click.option("--run-dir", type=click.Path(), required=True, help="Where the run and the model are stored.")
@click.option("--preset", help="Go on with the pre-training of this preset.  [default: a new encoder]")
@click.option("--vocabulary", type=click.Path(), help="vocab.txt of a new encoder.  [default: made of CORPUS]")
@click.option("--vocabulary-size", type=int, help="Tokens of a vocabulary that is made.  [default: 30000]")
@click.option("--lowercase/--cased", default=None, help="Whether a new encoder knows capitals.  [default: lowercase]")
@click.option("--family", help="bert, distil_bert or electra.  [default: bert]")
@click.option("--layers", type=int, help="Layers of a new encoder.  [default: 4]")
@click.option("--width", type=int, help="Size of a token's vector.  [default: 256]")
@click.option("--heads", type=int, help="Attention heads.  [default: 4]")
@click.option("--dropout", type=float, help="Dropout rate of a new encoder.  [default: 0.1]")
@click.option("--max-length", type=int, help="Tokens of a row.  [default: what was saved with a preset, or 128]")
@click.option(
    "--mask-rate", type=float, help="Share of the tokens that are masked.  [default: what was saved, or 0.15]"
)
@click.option(
    "--whole-words/--tokens",
    default=None,
    help="What is masked together.  [default: what was saved, or whole words]",
)
@click.option(
    "--sentence-head", help="Also learn this of pairs: next, order or none.  [default: what was saved, or none]"
)
@click.option(
    "--static-embeddings",
    type=click.Choice(["skip_gram", "cbow"]),
    help="Let the token embeddings begin with word2vec's, learnt from CORPUS.  [default: as they are]",
)
@click.option("--validation-data", type=click.Path(), help="Folder or file to judge each epoch by.")
@click.option("--strategy", default="auto", show_default=True, help="auto, one, mirrored, multi_worker or tpu.")
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
@settings_options(PretrainConfig)
@config_option
def pretrain(
    corpus: str,
    run_dir: str,
    preset: str | None,
    static_embeddings: str | None,
    validation_data: str | None,
    strategy: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Pre-train an encoder on CORPUS, a folder of .txt files or one such file.

    The same command again continues an interrupted run. The model is stored in RUN_DIR/model, where `tfllm train
    --preset RUN_DIR/model` finds it.

    \b
    Example:
      tfllm pretrain books --run-dir runs/books --layers 2 --width 128 --validation-fraction 0.05
    """
    import_tensorflow()
    import keras

    import tfllm
    from tfllm.training.interruption import Workers

    given = {name: value for name, value in settings.items() if value is not None}
    made, sizes, head = (_taken(given, names) for names in (_VOCABULARY, _SIZES, _HEAD))
    _check(preset, made, sizes)
    if head.get("sentence_head") == "none":
        head["sentence_head"] = None
    chosen_strategy = tfllm.get_strategy(strategy)
    first = Workers(chosen_strategy).is_first
    keras.utils.set_random_seed(make_settings(PretrainConfig, given).seed)
    if preset is None:
        vocabulary = _vocabulary(corpus, run_dir, first=first, lowercase=sizes.get("lowercase", True), **made)
        with chosen_strategy.scope():
            model = tfllm.MaskedLM.from_scratch(vocabulary, **sizes, **head)
    else:
        with chosen_strategy.scope():
            model = tfllm.MaskedLM.from_preset(preset, **head)
    if static_embeddings is not None:
        _begin_with(static_embeddings, model, corpus, run_dir, first=first)
    history = tfllm.pretrain(model, corpus, validation_data=validation_data, run_dir=run_dir, **given)
    if not first:
        return
    model.save_to_preset(Path(run_dir, "model"))
    print_rows(history.epochs, as_json)
    say(f"Stored the model in {Path(run_dir, 'model')} and the curves in {Path(run_dir, 'curves.png')}.")


def _begin_with(method: str, model: Any, corpus: str, run_dir: str, *, first: bool) -> None:
    """Let a model's token embeddings begin with word2vec's; the first worker makes them once for the run."""
    import tfllm

    file = Path(run_dir, f"{method}.npz")
    if first and not file.is_file():
        tfllm.train_static_embeddings(model, corpus, method=method).save(file)
    _wait_for(file)
    with model.distribute_strategy.scope():
        tfllm.StaticEmbeddings.load(file, model).initialize(model)


def _taken(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Take those of some names out of what was given."""
    return {name: given.pop(name) for name in names if name in given}


def _check(preset: str | None, made: dict[str, Any], sizes: dict[str, Any]) -> None:
    """Raise `ConfigError` for options of a new encoder beside a preset, or of a new vocabulary beside one that is."""
    if preset is not None and (made or sizes):
        received = ", ".join(f"{name}={value!r}" for name, value in {**made, **sizes}.items())
        raise ConfigError(
            f"Expected --preset, which has its own vocabulary and sizes, or a new encoder. Received: both, {received}."
        )
    if len(made) > 1:
        raise ConfigError("Expected --vocabulary, or --vocabulary-size of one that is made. Received: both.")


def _vocabulary(
    corpus: str,
    run_dir: str,
    *,
    first: bool,
    lowercase: bool,
    vocabulary: str | None = None,
    vocabulary_size: int = 30_000,
) -> str | Path:
    """Return the file of the vocabulary; the first worker makes it once for the run, the others wait for it."""
    if vocabulary is not None:
        return vocabulary
    import tfllm

    file = Path(run_dir, f"vocab-{vocabulary_size}-{'lower' if lowercase else 'cased'}.txt")
    if first and not file.is_file():
        tfllm.train_vocabulary(corpus, file, vocabulary_size=vocabulary_size, lowercase=lowercase)
    _wait_for(file)
    return file


def _wait_for(file: Path) -> None:
    """Wait until the first worker has written a file."""
    while not file.is_file():
        time.sleep(_WAIT_SECONDS)
