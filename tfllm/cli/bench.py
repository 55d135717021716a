"""`tfllm bench`: how much a served model can do, and how long it takes."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import click

from tfllm.cli.connecting import connection, connection_options, version_options
from tfllm.cli.output import print_json, print_table, say

_TEXTS = (
    "Where is my parcel?",
    "I was charged twice for the same order, and nobody has answered my letters for a week now.",
    "Thanks, that solved it!",
    "The lamp that came today is broken. Please send me another one, or tell me how I get my money back.",
)


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> list[float]:
    try:
        found = [float(part) for part in (value or "").split(",") if part.strip()]
    except ValueError as error:
        raise click.BadParameter(f"expected numbers with commas between, received {value!r}") from error
    if any(number <= 0 for number in found):
        raise click.BadParameter(f"expected numbers above 0, received {value!r}")
    return found


def _picture(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse, before minutes of load, a picture that could not be drawn or written after them."""
    if value is not None:
        _figure_class()
        if not Path(value).absolute().parent.is_dir():
            raise click.BadParameter(f"expected a folder that is there, received {value!r}")
    return value


@click.command()
@click.argument("server")
@click.option("--model", required=True, help="Name of the served model.")
@version_options
@click.option(
    "--concurrency", default="1,8,64", show_default=True, callback=_numbers, help="Callers of the closed loops."
)
@click.option("--rate", callback=_numbers, help="Requests a second of open loops, instead of the closed ones.")
@click.option("--duration", default=30.0, show_default=True, help="Seconds of each load.")
@click.option("--warmup", default=2.0, show_default=True, help="Seconds before each load that are not measured.")
@click.option("--batch-size", default=1, show_default=True, help="Rows in a request.")
@click.option("--texts", type=click.Path(), help="File with a text a line; a few sentences if not given.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds that a request may take.")
@click.option(
    "--tune", type=click.Path(), help="Write a batching.config for --latency to this file, and print the trials."
)
@click.option("--latency", default=100.0, show_default=True, help="Milliseconds that 99 % may take, for --tune.")
@click.option("--png", type=click.Path(), callback=_picture, help="Write the curve of percentiles to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@connection_options
def bench(
    server: str,
    model: str,
    signature: str | None,
    model_version: int | None,
    label: str | None,
    concurrency: list[float],
    rate: list[float],
    tune: str | None,
    latency: float,
    png: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure a served model, of tfllm or of any other maker, on SERVER (host:port).

    Closed loops have so many callers that each send the next request when they have the answer; open loops (--rate)
    send whether answers come or not, and count from when a request was due. Corrected percentiles have the requests
    that a closed loop did not send while it was held up.

    With --tune, batches of many sizes are measured as requests of so many rows, each for --duration, and the
    batching.config is written that gives the most rows a second within --latency.

    \b
    Examples:
      tfllm bench localhost:8500 --model reviews --concurrency 1,8,64 --duration 30
      tfllm bench localhost:8500 --model reviews --tune serving/config/batching.config --latency 100 --duration 3
    """
    from tfllm.client.calls import Target

    target = Target(model, model_version, label, signature)
    options["connection"] = connection(options, max_attempts=1)
    if tune is not None:
        _tune(server, target, Path(tune), latency, as_json, options)
        return
    loads = [("open", value) for value in rate] or [("closed", value) for value in concurrency]
    results = asyncio.run(_measure(server, target, loads, options))
    if as_json:
        print_json([dataclasses.asdict(result) for result in results])
    else:
        _print(results)
    if png is not None:
        _draw(results, png, f"{model} on {server}")


@contextlib.asynccontextmanager
async def _loads(server: str, target: Any, options: dict[str, Any]) -> AsyncIterator[Callable[[int], Any]]:
    """Give what makes a load of requests with so many rows."""
    from tfllm.client.aio import AsyncClient
    from tfllm.client.aio_transport import GrpcAioTransport
    from tfllm.client.load import Load, requests_for

    texts: Sequence[str] = _TEXTS
    if options["texts"] is not None:
        texts = [line for line in Path(options["texts"]).read_text("utf-8").splitlines() if line.strip()]
    transport = GrpcAioTransport(server, options["connection"])
    asked_of = {"model": target.model, "version": target.version, "label": target.label}
    async with AsyncClient(server, **asked_of, transport=transport) as client:
        found = await client.metadata()
        yield lambda rows: Load(transport, requests_for(target, found, texts, rows), rows, options["timeout"])


def _tune(server: str, target: Any, path: Path, latency: float, as_json: bool, options: dict[str, Any]) -> None:
    from tfllm.client.tuning import tune
    from tfllm.server.config_writing import BatchingSettings, batching_config

    async def work() -> Any:
        async with _loads(server, target, options) as load:

            async def measure(rows: int, callers: int) -> Any:
                say(f"batches of {rows}, {callers} at once ...")
                return await load(rows).closed(callers, options["duration"], options["warmup"])

            return await tune(measure, latency)

    found = asyncio.run(work())
    values = {name: value for name, value in dataclasses.asdict(found).items() if name != "trials"}
    settings = BatchingSettings(**values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(batching_config(settings), "utf-8")
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    print_table(
        ["rows", "at once", "p99 ms", "rows/s", f"within {latency:g} ms"],
        [
            [str(trial.rows), str(trial.threads), f"{trial.p99:.1f}", f"{trial.rows_per_second:.1f}"]
            + ["yes" if trial.fits else trial.error or "no"]
            for trial in found.trials
        ],
    )
    say(
        f"Wrote {path}: batches of up to {found.max_batch_size} rows in {found.num_batch_threads} threads. Use it with "
        f"--enable_batching --batching_parameters_file={path} --grpc_max_threads={settings.requests}"
    )


async def _measure(server: str, target: Any, loads: list[tuple[str, float]], options: dict[str, Any]) -> list[Any]:
    async with _loads(server, target, options) as make:
        load, results = make(options["batch_size"]), []
        for loop, value in loads:
            say(f"{loop} loop, {value:g} {'callers' if loop == 'closed' else 'requests a second'} ...")
            seconds, warm_up = options["duration"], options["warmup"]
            if loop == "closed":
                results.append(await load.closed(int(value), seconds, warm_up))
            else:
                results.append(await load.open(value, seconds, warm_up))
    return results


def _print(results: list[Any]) -> None:
    names = list(results[0].percentiles)
    columns = ["loop", "load", "requests/s", "rows/s", *(f"{name} ms" for name in names), "p99 corrected", "longest"]
    print_table(
        [*columns, "errors"],
        [
            [result.loop, f"{result.load:g}", f"{result.per_second:.1f}", f"{result.rows_per_second:.1f}"]
            + [f"{result.percentiles[name]:.2f}" for name in names]
            + [f"{result.corrected['p99']:.2f}", f"{result.longest:.2f}", str(result.errors)]
            for result in results
        ],
    )
    for result in results:
        if result.first_error:
            say(f"{result.loop} {result.load:g}: {result.first_error}")


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError(
            "Pictures need the package 'matplotlib', which is not installed. "
            "Install it with: pip install 'tfllm[bench]'",
            name="matplotlib",
        ) from error
    return Figure


def _draw(results: list[Any], path: str, title: str) -> None:
    figure = _figure_class()(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for result in results:
        unit = "requests/s due" if result.loop == "open" else "caller" if result.load == 1 else "callers"
        label = f"{result.load:g} {unit}: {result.per_second:.0f} answers/s"
        axes.plot(list(result.corrected), list(result.corrected.values()), marker="o", label=label)
    axes.set(yscale="log", ylabel="milliseconds", xlabel="percentile (corrected)", title=title)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
