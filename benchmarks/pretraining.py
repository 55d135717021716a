"""Pre-train a micro BERT on five books, then fine-tune it beside the same architecture from random weights.

    python benchmarks/pretraining.py DATA [--steps 6000] [--static-embeddings skip_gram] [--rows 500] [--seeds 0 1 2]
    python benchmarks/pretraining.py DATA --domain --embedding-scale 0.27    # goes on with film reviews in between

DATA holds `text_gutenberg`, `sst2` and, for `--domain`, `counterfactual_imdb_nli`. Each line it prints is
JSON. The same command again goes on after a stop.
"""

import argparse
import json
import math
import os
import statistics
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd

import tfllm

SIZES = {"layers": 2, "width": 128, "heads": 2, "max_length": 64}


def say(**figures):
    print(json.dumps(figures), flush=True)


def unigram_entropy(file: Path) -> float:
    """Return the entropy of the tokens of a store, in nats."""
    counts = np.bincount(np.fromfile(file, "<i4")).astype(float)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def begin_with(method: str, model: tfllm.MaskedLM, arguments: argparse.Namespace) -> None:
    """Let the token embeddings begin with word2vec's, which are learnt once for the run folder."""
    file = Path(arguments.run_dir, f"{method}.npz")
    if not file.is_file():
        tfllm.train_static_embeddings(model, arguments.data / "text_gutenberg", method=method, epochs=10).save(file)
    tfllm.StaticEmbeddings.load(file, model).initialize(model)


def pretrain(arguments: argparse.Namespace) -> Path:
    """Return the folder of the pre-trained model."""
    run = Path(arguments.run_dir)
    vocabulary = run / "vocab.txt"
    if not vocabulary.is_file():
        tfllm.train_vocabulary(arguments.data / "text_gutenberg", vocabulary, vocabulary_size=arguments.vocabulary)
    keras.utils.set_random_seed(0)
    model = tfllm.MaskedLM.from_scratch(vocabulary, **SIZES, dropout=arguments.dropout)
    if arguments.static_embeddings:
        begin_with(arguments.static_embeddings, model, arguments)
    preset = learn(model, arguments.data / "text_gutenberg", run, arguments)
    if not arguments.domain:
        return preset
    keras.utils.set_random_seed(0)
    return learn(tfllm.MaskedLM.from_preset(preset), write_domain(arguments.data, run), run / "domain", arguments)


def write_domain(data: Path, run: Path) -> Path:
    """Return a folder of film reviews and of SST-2's training sentences, without their labels."""
    folder = run / "domain_texts"
    folder.mkdir(exist_ok=True)
    reviews = pd.read_csv(data / "counterfactual_imdb_nli" / "imdb_train.csv.gz")["text"].str.replace("<br />", " ")
    sentences = pd.read_csv(data / "sst2" / "train_sentences.csv")["sentence"]
    for name, texts in (("reviews", reviews), ("sentences", sentences)):
        (folder / f"{name}.txt").write_text("\n\n".join(texts), "utf-8")
    return folder


def learn(model: tfllm.MaskedLM, corpus: Path, run: Path, arguments: argparse.Namespace) -> Path:
    """Pre-train, say how it went, and return the folder of the model."""
    epochs = 10
    history = tfllm.pretrain(
        model,
        corpus,
        run_dir=run,
        epochs=epochs,
        steps_per_epoch=arguments.steps // epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        validation_fraction=0.05,
        checkpoint_minutes=2.0,
    )
    for row in history.epochs:
        say(part="pretraining", **row)
    say(
        part="entropy",
        unigram_entropy=round(unigram_entropy(run / "corpus" / "training.ids"), 4),
        validation_loss=history.epochs[-1]["val_loss"],
        perplexity=math.exp(history.epochs[-1]["val_loss"]),
        parameters=model.count_params(),
    )
    model.save_to_preset(run / "model")
    return run / "model"


def fine_tune(arguments: argparse.Namespace, preset: Path, *, load_weights: bool, seed: int, rate: float) -> float:
    """Return the accuracy on the dev rows, or on the test rows."""
    sst2 = arguments.data / "sst2"
    train = tfllm.load_dataset(sst2 / "train_sentences.csv", text="sentence")
    if arguments.rows:
        train = train.split(arguments.rows / len(train), seed=0)[1]
    judge = tfllm.load_dataset(sst2 / f"{arguments.judge}.csv", text="sentence")
    keras.utils.set_random_seed(seed)
    model = tfllm.TextClassifier.from_preset(preset, labels=train.labels, pooling="mean", load_weights=load_weights)
    if load_weights:
        for table in model.backbone.weights:
            if table.path.endswith("_embedding/embeddings"):
                table.assign(table * arguments.embedding_scale)
    tfllm.fine_tune(model, train, epochs=arguments.epochs, batch_size=32, learning_rate=rate, seed=seed, progress=False)
    return tfllm.evaluate(model.predict_text, judge).metrics["accuracy"]


def accuracy_of(arguments: argparse.Namespace, preset: Path, weights: str, seed: int, rate: float) -> float:
    """Return the accuracy of one run, from the file of those that are done."""
    file = Path(arguments.run_dir, "sst2.json")
    done = json.loads(file.read_text()) if file.is_file() else {}
    settings = (arguments.epochs, arguments.rows, arguments.domain, arguments.embedding_scale, arguments.judge)
    key = " ".join(map(str, (weights, seed, rate, *settings)))
    if key not in done:
        done[key] = fine_tune(arguments, preset, load_weights=weights == "pretrained", seed=seed, rate=rate)
        file.write_text(json.dumps(done))
    say(
        part="sst2",
        weights=weights,
        seed=seed,
        learning_rate=rate,
        **{f"{arguments.judge}_accuracy": round(done[key], 4)},
    )
    return done[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument(
        "--static-embeddings", choices=["skip_gram", "cbow"], help="what the token embeddings begin with"
    )
    parser.add_argument("--domain", action="store_true", help="go on with film reviews before fine-tuning")
    parser.add_argument("--embedding-scale", type=float, default=1.0, help="of the pre-trained tables of embeddings")
    parser.add_argument("--judge", choices=["dev", "test"], default="dev", help="rows of SST-2")
    parser.add_argument("--rows", type=int, default=0, help="rows of SST-2 to fine-tune on; 0 for all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--run-dir", default="runs/pretraining_benchmark")
    arguments = parser.parse_args()
    preset = pretrain(arguments)
    for rate in arguments.rates:
        found: dict[str, list[float]] = {"pretrained": [], "random": []}
        for seed in arguments.seeds:
            for name, accuracies in found.items():
                accuracies.append(accuracy_of(arguments, preset, name, seed, rate))
        means = {name: round(statistics.mean(accuracies), 4) for name, accuracies in found.items()}
        say(part="sst2_mean", learning_rate=rate, epochs=arguments.epochs, **means)


if __name__ == "__main__":
    main()
