"""Race of understanding tasks: tfllm against Transformers + PyTorch, from the same MiniLM weights and the same rows.

    python benchmarks/run.py understanding [--tasks semeval clinc stsb nli] [--seeds 0 1 2] [--rows N]

Tasks (rows, epochs, batch size and learning rate are the same on both sides; `--rows` cuts the training rows of both):

    semeval  SemEval-2010 task 8, 8,000 / 2,717 rows: macro-F1 of the official scorer (nine relations,
             direction counted) and of the 18 directed labels
    clinc    CLINC-150, 15,000 / 4,500 + 1,000 rows: accuracy in scope, recall out of scope by a threshold tuned on dev
    stsb     STS-B after training, 5,749 / 1,500 / 1,379 rows: Pearson and Spearman
    nli      pairs of the counterfactual NLI set, 8,330 / 1,000 / 2,000 rows: accuracy

This module holds the data and the scores; it needs numpy and pandas alone, so that both sides can use it.
"""

import argparse
import importlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

OUT_OF_SCOPE = "oos"
Frames = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Race:
    """One task: columns of every frame are `text`, `target`, and `text_pair` for pairs."""

    name: str
    epochs: int
    learning_rate: float
    max_length: int
    batch_size: int = 32
    regression: bool = False
    marked_entities: bool = False


RACES = {
    "semeval": Race("semeval", epochs=5, learning_rate=1e-4, max_length=128, marked_entities=True),
    "clinc": Race("clinc", epochs=4, learning_rate=2e-4, max_length=64),
    "stsb": Race("stsb", epochs=4, learning_rate=5e-5, max_length=128, regression=True),
    "nli": Race("nli", epochs=3, learning_rate=5e-5, max_length=128),
}


def load(race: Race, data: Path, rows: int) -> Frames:
    """Return the frames train, dev and test; the training rows are cut to `rows`, drawn with seed 0."""
    frames = {"semeval": _semeval, "clinc": _clinc, "stsb": _stsb, "nli": _nli}[race.name](data)
    if rows and rows < len(frames["train"]):
        frames["train"] = frames["train"].sample(rows, random_state=0)
    return {name: frame.reset_index(drop=True) for name, frame in frames.items()}


def _semeval(data: Path) -> Frames:
    folder = data / "semeval2010_task8"
    parts = [pd.read_csv(folder / f"{name}.csv", keep_default_na=False) for name in ("train", "test")]
    train, test = (part.rename(columns={"sentence": "text", "relation": "target"}) for part in parts)
    dev = train.sample(800, random_state=0)
    return {"train": train.drop(dev.index), "dev": dev, "test": test}


def _clinc(data: Path) -> Frames:
    def read(name: str) -> pd.DataFrame:
        frame = pd.read_csv(data / "clinc150" / f"{name}.csv", keep_default_na=False)
        return frame.rename(columns={"intent": "target"})

    return {
        "train": read("train"),
        "dev": pd.concat([read("val"), read("oos_val")]),
        "test": pd.concat([read("test"), read("oos_test")]),
    }


def _stsb(data: Path) -> Frames:
    return _pairs(data / "stsb", "", "score")


def _nli(data: Path) -> Frames:
    return _pairs(data / "counterfactual_imdb_nli", "nli_", "label")


def _pairs(folder: Path, prefix: str, target: str) -> Frames:
    columns = {"sentence1": "text", "sentence2": "text_pair", target: "target"}
    return {
        name: pd.read_csv(folder / f"{prefix}{name}.csv", keep_default_na=False).rename(columns=columns)
        for name in ("train", "dev", "test")
    }


def figures(race: Race, frames: Frames, outputs: dict[str, np.ndarray], labels: list[str]) -> dict[str, float]:
    """Return the scores on dev and test.

    Args:
        race: the task.
        frames: the rows.
        outputs: "dev" and "test" -> probabilities `(rows, labels)`, or numbers `(rows,)`.
        labels: the labels in the order of the probabilities.
    """
    found = {}
    for part in ("dev", "test"):
        target = frames[part]["target"].to_numpy()
        if race.regression:
            both = pd.DataFrame({"target": target, "answer": outputs[part]})
            scores = {"pearson": both.corr().iloc[0, 1], "spearman": both.rank().corr().iloc[0, 1]}
        else:
            answers = np.array(labels, dtype=object)[outputs[part].argmax(axis=1)]
            scores = _classified(race, target, answers, outputs, frames, part, labels)
        found.update({f"{part}_{name}": round(100 * float(value), 2) for name, value in scores.items()})
    return found


def _classified(race, target, answers, outputs, frames, part, labels) -> dict[str, float]:
    if race.name == "semeval":
        return semeval_scores(target, answers)
    if race.name != "clinc":
        return {"accuracy": float((target == answers).mean())}
    from tfllm.tasks.thresholds import best_rejection_threshold  # numpy alone

    score, outside = outputs[part].max(axis=1), target == OUT_OF_SCOPE
    dev_target, dev_score = frames["dev"]["target"].to_numpy(), outputs["dev"].max(axis=1)
    dev_right = np.array(labels, dtype=object)[outputs["dev"].argmax(axis=1)] == dev_target
    threshold = best_rejection_threshold(dev_score, dev_right, dev_target == OUT_OF_SCOPE)
    kept, right = score >= threshold, answers == target
    order = pd.Series(score).rank().to_numpy()
    inside = int((~outside).sum())
    return {
        "accuracy": float(right[~outside].mean()),
        "accuracy_with_threshold": float((right & kept)[~outside].mean()),
        "out_of_scope_recall": float((~kept)[outside].mean()),
        "out_of_scope_auroc": float((order[~outside].sum() - inside * (inside + 1) / 2) / (inside * outside.sum())),
    }


def semeval_scores(target: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    """Return the scores of SemEval-2010 task 8, without Other: `macro_f1`, the official one, and `directed_macro_f1`.

    The official one is the mean F1 of nine relations: an answer is right if relation and direction are; precision and
    recall of a relation count both of its directions together (Hendrickx et al., 2010, section 3.3; the scorer's
    "(9+1)-way evaluation, taking directionality into account"). The other is the mean F1 of the 18 directed labels.
    """
    relation_of = np.vectorize(lambda name: name.partition("(")[0], otypes=[object])
    return {
        "macro_f1": _macro_f1(target, answers, relation_of(target), relation_of(answers)),
        "directed_macro_f1": _macro_f1(target, answers, target, answers),
        "accuracy": float((target == answers).mean()),
    }


def _macro_f1(target: np.ndarray, answers: np.ndarray, gold: np.ndarray, found: np.ndarray) -> float:
    """Return the mean F1 over the groups `gold` of the targets, but Other; `found` are the groups of the answers."""
    f1 = []
    for group in sorted(set(gold) - {"Other"}):
        right = int(((target == answers) & (gold == group)).sum())
        f1.append(2 * right / int((gold == group).sum() + (found == group).sum()))
    return float(np.mean(f1))


def main() -> None:
    """Run one side on one task; the last line printed is the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--side", required=True, choices=["tfllm", "transformers"])
    parser.add_argument("--task", required=True, choices=list(RACES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--pooling", default="cls", help="tfllm only")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    race = RACES[arguments.task]
    frames = load(race, arguments.data, arguments.rows)
    labels = [] if race.regression else sorted(frames["train"]["target"].unique())
    side = importlib.import_module(f"understanding_{arguments.side}")
    start = time.perf_counter()
    settings = {"pooling": arguments.pooling} if arguments.side == "tfllm" else {}
    outputs, train_seconds = side.train_and_answer(race, frames, labels, arguments.seed, **settings)
    print(
        json.dumps(
            {
                "side": arguments.side,
                "task": race.name,
                "seed": arguments.seed,
                "train_rows": len(frames["train"]),
                "epochs": race.epochs,
                **settings,
                **figures(race, frames, outputs, labels),
                "train_seconds": round(train_seconds, 1),
                "seconds": round(time.perf_counter() - start, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
