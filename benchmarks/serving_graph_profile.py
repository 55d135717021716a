"""Where the time of one call of an exported graph goes, by operator.

    python benchmarks/serving_graph_profile.py models/minilm_float32/1 [--texts 1 32] [--repeats 30]

The graph runs in a session with two threads, as TensorFlow Serving runs it, and every operator is timed. Timing adds
its own share: the table's sum is more than a call takes without it, which is printed too.
"""

import argparse
import os
import statistics
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the tokenizer's operators
from serving_graph import UNIFORM

SHOWN = 12


def operator_of(node: Any) -> str:
    """Return the operator of a timed node: its label is `name = Operator(inputs)`."""
    return node.timeline_label.split(" = ")[1].split("(")[0] if " = " in node.timeline_label else "other"


def profile(session: tf.compat.v1.Session, fetches: dict, feeds: dict, repeats: int) -> dict[str, list[float]]:
    """Return operator -> the calls of it and the milliseconds it takes, each of one run."""
    options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    micros: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for _ in range(repeats):
        metadata = tf.compat.v1.RunMetadata()
        session.run(fetches, feeds, options=options, run_metadata=metadata)
        for node in (node for device in metadata.step_stats.dev_stats for node in device.node_stats):
            micros[operator_of(node)] += node.op_end_rel_micros - node.op_start_rel_micros
            calls[operator_of(node)] += 1
    return {name: [calls[name] / repeats, spent / repeats / 1e3] for name, spent in micros.most_common()}


def call_time(session: tf.compat.v1.Session, fetches: dict, feeds: dict, repeats: int) -> float:
    """Return the median milliseconds of a call that nobody times inside."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        session.run(fetches, feeds)
        found.append(1e3 * (time.perf_counter() - start))
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="an exported version")
    parser.add_argument("--texts", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    settings = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=1)
    tables: dict[str, dict[str, list[float]]] = defaultdict(dict)
    heads = []
    with tf.Graph().as_default(), tf.compat.v1.Session(config=settings) as session:
        definition = tf.compat.v1.saved_model.load(session, ["serve"], str(arguments.folder)).signature_def
        signature = definition["serving_default"]
        fetches = {name: info.name for name, info in signature.outputs.items()}
        for texts in arguments.texts:
            feeds = {signature.inputs["text"].name: np.array([UNIFORM.encode()] * texts, object)}
            call_time(session, fetches, feeds, 10)
            heads.append(f"{texts} x 17 tokens, {call_time(session, fetches, feeds, arguments.repeats):.1f} ms a call")
            for name, found in profile(session, fetches, feeds, arguments.repeats).items():
                tables[name][heads[-1]] = found
    show(tables, heads)


def show(tables: dict[str, dict[str, list[float]]], heads: list[str]) -> None:
    nothing = [0.0, 0.0]
    ranked = sorted(tables, key=lambda name: -max(found[1] for found in tables[name].values()))
    rows = {name: [tables[name].get(head, nothing) for head in heads] for name in ranked[:SHOWN]}
    rest = [[tables[name].get(head, nothing) for name in ranked[SHOWN:]] for head in heads]
    rows["all else"] = [[sum(each[0] for each in found), sum(each[1] for each in found)] for found in rest]
    print(f"| milliseconds (calls) | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(f'{spent:.2f} ({calls:.0f})' for calls, spent in cells)} |")


if __name__ == "__main__":
    main()
