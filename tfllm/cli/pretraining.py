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
from tfllm.training.pretraining_settings import PretrainConfig

_WAIT_SECONDS = 1.0


@click.command()
@click.argument("corpus", type=click.Path())
@click.option("--run-dir", type=click.Path(), required=True, help="Where the run and the model are stored.")
@click.option("--preset", help="Go on with the pre-training of this preset.  [default: a new encoder]")
@click.option("--vocabulary", type=click.Path(), help="vocab.txt of a new encoder.  [default: made of CORPUS]")
@click.option("--vocabulary-size", default=30_000, show_default=True, help="Tokens of a vocabulary that is made.")
@click.option("--lowercase/--cased", default=True, show_default=True, help="Whether a new encoder knows capitals.")
@click.option("--family", default="bert", show_default=True, help="bert, distil_bert or electra.")
@click.option("--layers", default=4, show_default=True, help="Layers of a new encoder.")
@click.option("--width", default=256, show_default=True, help="Size of a token's vector.")
@click.option("--heads", default=4, show_default=True, help="Attention heads.")
@click.option("--dropout", default=0.1, show_default=True, help="Dropout rate of a new encoder.")
@click.option("--max-length", default=128, show_default=True, help="Tokens of a row.")
@click.option("--mask-rate", default=0.15, show_default=True, help="Share of the tokens that are masked.")
@click.option("--whole-words/--tokens", default=True, show_default=True, help="What is masked together.")
@click.option("--sentence-head", help="Also learn this of pairs: next or order.  [default: masks alone]")
@click.option("--validation-data", type=click.Path(), help="Folder or file to judge each epoch by.")
@click.option("--strategy", default="auto", show_default=True, help="auto, one, mirrored, multi_worker or tpu.")
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
@settings_options(PretrainConfig)
@config_option
def pretrain(
    corpus: str,
    run_dir: str,
    preset: str | None,
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

    def take(*names: str) -> dict[str, Any]:
        return {name: settings.pop(name) for name in names}

    sizes = take("lowercase", "family", "layers", "width", "heads", "dropout")
    made = take("vocabulary", "vocabulary_size")
    head = take("max_length", "mask_rate", "whole_words", "sentence_head")
    chosen = {name: value for name, value in settings.items() if value is not None}
    chosen_strategy = tfllm.get_strategy(strategy)
    first = Workers(chosen_strategy).is_first
    keras.utils.set_random_seed(make_settings(PretrainConfig, chosen).seed)
    if preset is None:
        vocabulary = _vocabulary(corpus, run_dir, first=first, lowercase=sizes["lowercase"], **made)
        with chosen_strategy.scope():
            model = tfllm.MaskedLM.from_scratch(vocabulary, **sizes, **head)
    else:
        with chosen_strategy.scope():
            model = tfllm.MaskedLM.from_preset(preset, **head)
    history = tfllm.pretrain(model, corpus, validation_data=validation_data, run_dir=run_dir, **chosen)
    if not first:
        return
    model.save_to_preset(Path(run_dir, "model"))
    print_rows(history.epochs, as_json)
    say(f"Stored the model in {Path(run_dir, 'model')} and the curves in {Path(run_dir, 'curves.png')}.")


def _vocabulary(
    corpus: str, run_dir: str, *, first: bool, lowercase: bool, vocabulary: str | None, vocabulary_size: int
) -> str | Path:
    """Return the file of the vocabulary; the first worker makes it once for the run, the others wait for it."""
    if vocabulary is not None:
        return vocabulary
    import tfllm

    file = Path(run_dir, f"vocab-{vocabulary_size}-{'lower' if lowercase else 'cased'}.txt")
    if first and not file.is_file():
        tfllm.train_vocabulary(corpus, file, vocabulary_size=vocabulary_size, lowercase=lowercase)
    while not file.is_file():
        time.sleep(_WAIT_SECONDS)
    return file
