"""`tfllm predict`: texts from the command line, or a file to a file."""

import sys
import time
from typing import Any

import click

from tfllm.cli.connecting import connection, connection_options, version_options
from tfllm.cli.output import print_json, print_table, say


@click.command()
@click.argument("texts", nargs=-1)
@click.option("--server", default="localhost:8500", show_default=True, help="Address of the server.")
@click.option("--name", required=True, help="Name of the served model.")
@click.option(
    "--text-pair",
    multiple=True,
    help="Second text of a pair; once for each of TEXTS, in their order. With --out: its column.",
)
@version_options
@click.option("--timeout", default=10.0, show_default=True, help="Seconds for all texts; with --out for each request.")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
@click.option("--out", type=click.Path(), help="Score a file: TEXTS is its path, this is the file to write.")
@click.option("--text", default="text", show_default=True, help="With --out: column of the text.")
@click.option("--prefix", default="", help="With --out: goes before the names of the new columns.")
@click.option("--batch-size", default=256, show_default=True, help="With --out: most rows in a request.")
@click.option("--part-rows", default=20_000, show_default=True, help="With --out: rows that a stop can cost.")
@click.option("--concurrency", default=8, show_default=True, help="With --out: requests under way at once.")
@connection_options
def predict(
    texts: tuple[str, ...],
    server: str,
    name: str,
    text_pair: tuple[str, ...],
    timeout: float,
    as_json: bool,
    out: str | None,
    **options: Any,
) -> None:
    """Ask a served model for TEXTS, or for the lines of standard input; or score a file with --out.

    Files are csv, tsv, jsonl (also .gz) or parquet, in any combination and of any length. A run that was stopped
    continues when it is started again.

    \b
    Example:
      tfllm predict --name reviews "Loved it!" "Never again."
      tfllm predict --name reviews rows.csv --out scored.parquet --text review
      tfllm predict --name reviews --server models:8500 --tls-ca ca.pem --token-file token "Loved it!"
    """
    from tfllm.client.client import Client

    known = connection(options, wait_for_ready=out is not None)
    asked_of = {"version": options.pop("model_version"), "label": options.pop("label")}
    common = {"model": name, "signature": options.pop("signature"), "timeout": timeout, "connection": known}
    if out is not None:
        if len(texts) != 1 or len(text_pair) > 1:
            raise click.UsageError("With --out, give one file, and at most one column as --text-pair.")

        def open_client(version: int | None) -> Client:
            return Client(server, **common, **(asked_of if version is None else {"version": version}))

        _score(open_client, texts[0], out, text_pair[0] if text_pair else None, as_json, options)
        return
    if text_pair and len(text_pair) != len(texts):
        raise click.UsageError(f"Give --text-pair once for each text: {len(texts)} texts, {len(text_pair)} pairs.")
    asked = list(texts) or [line.rstrip("\n") for line in sys.stdin]
    with Client(server, **common, **asked_of) as client:
        answers = client.predict(list(zip(asked, text_pair, strict=True)) if text_pair else asked)
    _print(asked, answers, as_json)


def _print(asked: list[str], answers: list[Any], as_json: bool) -> None:
    from tfllm.outputs import columns_of

    cells = [columns_of(answer) for answer in answers]
    if as_json:
        print_json(
            [
                {"text": text, **{name: _plain(value) for name, value in row.items()}}
                for text, row in zip(asked, cells, strict=True)
            ]
        )
    elif cells:
        names = [name for name in cells[0] if name != "scores"]
        rows = [[*(_shown(row[name]) for name in names), text] for text, row in zip(asked, cells, strict=True)]
        print_table([*names, "text"], rows)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(_plain(value))


def _score(
    open_client: Any, source: str, out: str, text_pair: str | None, as_json: bool, options: dict[str, Any]
) -> None:
    """Score a file."""
    from tfllm.client.scoring import ScoringJob, finished_rows, score_file

    job = ScoringJob(source, out, options["text"], text_pair, options["prefix"], options["part_rows"])
    if before := finished_rows(job):
        say(f"Continuing after {before:,} rows.")
    start = time.monotonic()
    rows = score_file(open_client, job, batch_size=options["batch_size"], concurrency=options["concurrency"])
    seconds = time.monotonic() - start
    if as_json:
        print_json({"rows": rows, "rows_before": before, "seconds": round(seconds, 2), "out": out})
    else:
        say(f"{rows:,} rows in {out} ({seconds:.1f} s, {(rows - before) / seconds:,.0f} rows a second).")
