"""`tfllm verify` and `tfllm preflight`."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from tfllm import repository
from tfllm.cli.connecting import connection, connection_options
from tfllm.cli.output import print_json, say
from tfllm.cli.quiet import import_tensorflow
from tfllm.errors import ConfigError


@click.command()
@click.argument("path", type=click.Path())
@click.option("--server", help="Ask a running server at this address, instead of loading the files here.")
@click.option("--model", help="Name of the served model.  [default: the name of its folder]")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@connection_options
def verify(path: str, server: str | None, model: str | None, as_json: bool, **options: Any) -> None:
    """Ask the golden requests of an exported version again, and compare the answers.

    PATH is a version's folder, or a model's folder for its newest version.

    \b
    Example:
      tfllm verify saved_models/reviews/3
      tfllm verify saved_models/reviews/3 --server localhost:8500
      tfllm verify saved_models/reviews/3 --server models:8500 --tls-ca ca.pem --token-file token
    """
    known = connection(options)
    import_tensorflow("server")
    from tfllm.exporting.verify import verify as verify_folder
    from tfllm.exporting.verify import verify_answers

    folder = _version_folder(path)
    if server is None:
        found = verify_folder(folder)
    else:
        from tfllm.client.client import Client

        name, version = model or folder.parent.name, int(folder.name)
        with Client(server, model=name, version=version, timeout=60.0, connection=known) as client:
            found = {server: verify_answers(folder, client.predict_arrays, server)}
    if as_json:
        print_json(found)
    for who, difference in found.items():
        say(f"{who}: as proved at export; largest difference {difference:.2g}.")


@click.command()
@click.argument("path", type=click.Path())
@click.option(
    "--operators",
    type=click.Path(exists=True, path_type=Path),
    help="What the server registers, as tfllm/exporting/operators.py writes it in an environment of its version."
    "  [default: the installed TensorFlow]",
)
@click.option(
    "--server-version", help="TensorFlow Serving's version, such as 2.19, of those whose operators are listed."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def preflight(path: str, operators: Path | None, server_version: str | None, as_json: bool) -> None:
    """Check that a server can run an exported version, before it is deployed.

    PATH is a version's folder, or a model's folder for its newest version.
    """
    if operators is not None and server_version is not None:
        raise ConfigError("Expected --operators or --server-version. Received: both.")
    import_tensorflow("server")
    from tfllm.exporting.operators import listed_operators, read_operators
    from tfllm.exporting.preflight import preflight as check

    known = read_operators(operators) if operators else None
    findings = check(_version_folder(path), operators=listed_operators(server_version) if server_version else known)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    for finding in findings:
        say(f"note: {finding.what}")
    say("The server can run it.")


def _version_folder(path: str) -> Path:
    folder = Path(path).absolute()
    return folder if folder.name.isdecimal() else repository.find_version(folder).path
