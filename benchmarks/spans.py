"""Race over spans: WNUT-17 entities and SQuAD questions, tfllm beside the recipes of Transformers, same weights.

    python benchmarks/spans.py entities                                    # 3 epochs of WNUT-17, its whole test set
    python benchmarks/spans.py questions --train 4000 --test 2000          # SQuAD v1.1
    python benchmarks/spans.py questions --train 1000 --test 500           # a cut, for both sides

Cost on 2 cores: entities about 4 minutes a side and seed; questions about 20 minutes a side and seed, the cut about 5.
Both sides are scored by the same code: strict entity F1 (both ends and the type right), exact match and F1 of SQuAD.
"""

import argparse
import gzip
import json
import os
import statistics
import tempfile
from pathlib import Path

from run import ROOT, peer_python, run

import tfllm
from tfllm.data.tags import join_tokens, tags_to_entities
from tfllm.evaluation.answers import answer_metrics
from tfllm.evaluation.entities import entity_metrics

DATA = Path(os.environ.get("TFLLM_DATA", ROOT.parent / "shared" / "data"))


def entity_scores(test: Path, predictions: list) -> dict[str, float]:
    """Score spans, or the tags of tokens; an I- that nothing has begun begins an entity, as in run_ner."""
    data = tfllm.load_dataset(test, text="tokens", label="ner", label_kind="entities")
    tokens = [json.loads(line)["tokens"] for line in test.read_text("utf-8").splitlines()]
    found = [
        tags_to_entities(row, join_tokens(words)[1], "iob1") if row and isinstance(row[0], str) else map(tuple, row)
        for row, words in zip(predictions, tokens, strict=True)
    ]
    scores = dict(entity_metrics(data.targets, list(map(list, found))))
    return {name: scores[name] for name in ("f1", "precision", "recall")}


def answer_scores(test: Path, predictions: list) -> dict[str, float]:
    data = tfllm.load_dataset(test)
    right = [
        [context[start:end] for start, end in spans]
        for (_, context), spans in zip(data.texts, data.targets, strict=True)
    ]
    return dict(answer_metrics(predictions, right))


def cut(source: Path, target: Path, questions: int) -> Path:
    """Write the first questions of a SQuAD file."""
    opener = gzip.open if source.suffix == ".gz" else open
    with opener(source, "rt", encoding="utf-8") as stream:
        articles = json.load(stream)["data"]
    left = questions
    for article in articles:
        for paragraph in article["paragraphs"]:
            paragraph["qas"] = paragraph["qas"][: max(left, 0)]
            left -= len(paragraph["qas"])
        article["paragraphs"] = [paragraph for paragraph in article["paragraphs"] if paragraph["qas"]]
    target.write_text(json.dumps({"data": articles}), "utf-8")
    return target


def race(task: str, train: Path, test: Path, seeds: list[int], folder: Path) -> None:
    sides = {
        "tfllm": (str(ROOT / ".venv" / "bin" / "python"), "spans_tfllm.py"),
        "Transformers + PyTorch": (peer_python(), "spans_transformers.py"),
    }
    score = {"entities": entity_scores, "questions": answer_scores}[task]
    results: dict[str, list[dict]] = {name: [] for name in sides}
    for seed in seeds:
        for name, (python, script) in sides.items():
            predictions = folder / f"{script}-{seed}.json"
            ran = run(python, script, task, str(train), str(test), str(predictions), "--seed", str(seed))
            results[name].append({**score(test, json.loads(predictions.read_text("utf-8"))), **ran})
            print(f"seed {seed}  {name:<24}{results[name][-1]}", flush=True)
    names = list(next(iter(results.values()))[0])
    print(f"\n| | {' | '.join(name.replace('_', ' ') for name in names)} |")
    print("|---" * (len(names) + 1) + "|")
    for name, found in results.items():
        means = [statistics.mean(result[key] for result in found) for key in names]
        print(f"| {name} | {' | '.join(f'{mean:.4f}' if mean <= 1 else f'{mean:.0f}' for mean in means)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["entities", "questions"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--train", type=int, default=4000, help="training questions")
    parser.add_argument("--test", type=int, default=2000, help="questions to answer")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.task == "entities":
            train, test = DATA / "wnut17" / "train.jsonl", DATA / "wnut17" / "test.jsonl"
        else:
            train = cut(DATA / "squad" / "train_subset4000.json", folder / "train.json", arguments.train)
            test = cut(DATA / "squad" / "dev-v1.1.json.gz", folder / "test.json", arguments.test)
        race(arguments.task, train, test, arguments.seeds, folder)


if __name__ == "__main__":
    main()
