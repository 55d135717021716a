"""`tfllm serve` and `tfllm predict`."""

import dataclasses
import sys

import click

from tfllm.cli.output import print_json, print_table, say
from tfllm.cli.quiet import import_tensorflow


@click.command()
@click.argument("path", type=click.Path(), default="saved_models")
@click.option("--port", default=8500, show_default=True, help="Port for gRPC; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--model-name", "--model_name", help="Name to serve one model folder under.")
def serve(path: str, port: int, host: str, model_name: str | None) -> None:
    """Serve the models under PATH with the protocol of TensorFlow Serving.

    PATH is a folder of models, or the folder of one model. Stop with Ctrl-C or SIGTERM; calls in flight are finished.
    """
    import signal

    import tfllm

    say("Loading TensorFlow and the models; this takes some seconds.")
    import_tensorflow("server")
    server = tfllm.serve(path, port=port, host=host, model_name=model_name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server:
        names = ", ".join(server.models)
        click.echo(f"Serving {names} on {server.address} (gRPC).")
        try:
            server.wait()
        except KeyboardInterrupt:
            say("Stopping.")


@click.command()
@click.argument("texts", nargs=-1)
@click.option("--server", default="localhost:8500", show_default=True, help="Address of the server.")
@click.option("--name", required=True, help="Name of the served model.")
@click.option("--version", "model_version", type=int, help="Version to ask; the newest if not given.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds for all texts.")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
def predict(
    texts: tuple[str, ...], server: str, name: str, model_version: int | None, timeout: float, as_json: bool
) -> None:
    """Ask a served model for TEXTS, or for the lines of standard input.

    \b
    Example:
      tfllm predict --name reviews "Loved it!" "Never again."
    """
    from tfllm.client.client import Client

    asked = list(texts) or [line.rstrip("\n") for line in sys.stdin]
    with Client(server, model=name, version=model_version, timeout=timeout) as client:
        answers = client.predict(asked)
    if as_json:
        print_json([{"text": text, **dataclasses.asdict(answer)} for text, answer in zip(asked, answers, strict=True)])
    else:
        rows = [[answer.label, f"{answer.score:.4f}", text] for text, answer in zip(asked, answers, strict=True)]
        print_table(["label", "score", "text"], rows)
