"""The demo: the main job, step by step, on the example data."""

import shutil
import time
from pathlib import Path

import click

from tfllm.cli.quiet import import_tensorflow
from tfllm.repository import ModelVersion

UNSEEN = (
    "i was charged twice this month, why is that?",
    "Parcel says delivered but there is nothing at my door.",
    "please stop my plan at the end of the month",
    "the app closes by itself whenever I open a photo",
    "You sorted it out in five minutes. Wonderful, thanks!",
)


def run_demo(data: Path, run_dir: Path, root: Path) -> None:
    """Fine-tune, evaluate, export, serve and ask, printing each step."""
    start = time.perf_counter()
    _step("Loading TensorFlow and the data")
    import_tensorflow()
    import keras

    import tfllm

    rows = tfllm.load_dataset(data, text="message", label="intent").split_by("split")
    train, dev = rows["train"], rows["dev"]
    click.echo(f"{len(train)} training and {len(dev)} validation messages, {len(train.labels)} intents.")

    _step("Fine-tuning MiniLM (22.7 million weights) on the training messages")
    if (run_dir / "run.json").is_file():
        shutil.rmtree(run_dir)  # the demo starts afresh; the same run_dir would continue a run
    keras.utils.set_random_seed(0)
    model = tfllm.TextClassifier.from_preset("all_minilm_l6_v2_en", labels=train.labels, pooling="mean")
    tfllm.fine_tune(model, train, validation_data=dev, epochs=3, batch_size=16, learning_rate=1e-4, run_dir=run_dir)

    _step("Judging it on the validation messages")
    report = tfllm.evaluate(model.predict_text, dev, title="Support requests: validation messages")
    page = report.save(run_dir / "report.html")
    for name in ("accuracy", "macro_f1", "expected_calibration_error"):
        click.echo(f"{name:<28}{report.metrics[name]:.4f}")

    _step("Exporting, and proving the export in a fresh process through both loaders")
    known = {"samples": dev.texts, "evaluation": report.metrics, "data_hash": train.fingerprint}
    served = root / "support_requests"
    version = tfllm.export(model, served, judge=lambda predict: tfllm.evaluate(predict, dev).metrics, **known)
    click.echo(f"Published version {version.version} in {version.path}.")

    _step("Serving it, and asking through gRPC")
    _serve_and_ask(version)

    _step(f"Done in {time.perf_counter() - start:.0f} s")
    click.echo(f"Report (open it in a browser): {page}")
    click.echo(f"Learning curves:               {run_dir / 'curves.png'}")
    click.echo(f"Serve it yourself:             tfllm serve {root}")


def _serve_and_ask(version: ModelVersion) -> None:
    import tfllm

    with (
        tfllm.serve(version.path.parent, port=0) as server,
        tfllm.Client(server.address, model=version.name) as client,
    ):
        answers = client.predict(UNSEEN)
        for text, answer in zip(UNSEEN, answers, strict=True):
            click.echo(f"{answer.label:<20}{answer.score:.3f}  {text}")


def _step(text: str) -> None:
    click.secho(f"\n== {text}", bold=True)
