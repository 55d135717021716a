"""The command line: each verb parses, calls one public function, and prints.

`main` is the entry point `tfllm`. A verb imports what it needs inside its own function, so `tfllm predict` starts
without TensorFlow.
"""

import sys

import click

from tfllm._version import __version__
from tfllm.cli import asking, bench, models, pretraining, proof, quality, runs, serving, setup, training
from tfllm.errors import Preempted, TfllmError

_SIGTERM_STATUS = 143


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tfllm")
def cli() -> None:
    """Production NLP on TensorFlow: labelled text in, a served model out."""


for command in (
    training.train,
    pretraining.pretrain,
    training.launch,
    training.tune,
    runs.runs,
    quality.evaluate,
    models.export,
    proof.preflight,
    proof.verify,
    serving.serve,
    asking.predict,
    bench.bench,
    models.models,
    setup.doctor,
    setup.demo,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line.

    Exit status 0 ok, 1 a tfllm error in one line on standard error, 2 wrong usage, 143 stopped by SIGTERM with the run
    stored.
    """
    try:
        cli()
    except Preempted as stopped:
        click.echo(f"tfllm: {stopped}", err=True)
        sys.exit(_SIGTERM_STATUS)
    except (TfllmError, ImportError, OSError) as error:
        click.echo(f"tfllm: {error}", err=True)
        sys.exit(1)
