"""The published weights used as they are: STS-B test Spearman, SciFact nDCG@10, and the indexes beside each other.

    python benchmarks/embedding.py DATA [--documents N]

Published for all-MiniLM-L6-v2: 0.8203 and 0.6451. The last line of output is the result as JSON.
"""

import argparse
import functools
import json
import time
from pathlib import Path

import numpy as np

import tfllm
from tfllm.search.vectors import ApproximateVectors, ExactVectors, unit_vectors

BARS = {"stsb_spearman": 0.819, "scifact_ndcg_at_10": 0.644}
MADE_UP = 100_000
K = 10


def similarity(model: tfllm.TextEmbedder, data: Path) -> dict:
    file = data / "stsb" / "test.csv"
    columns = {"text": "sentence1", "text_pair": "sentence2", "label": "score", "label_kind": "value"}
    found = tfllm.evaluate_similarity(model.encode_text, tfllm.load_dataset(file, **columns))
    return {f"stsb_{name}": round(value, 4) for name, value in found.items()}


def retrieval(model: tfllm.TextEmbedder, data: Path, documents: int) -> tuple[dict, np.ndarray]:
    """Judge the exact index by meaning, by words, and by both; return the documents' vectors too."""
    scifact = tfllm.load_beir(data / "scifact")
    texts = dict(list(scifact.documents.items())[: documents or None])
    start = time.perf_counter()
    vectors = model.encode_text(list(texts.values()), progress=True)
    seconds = time.perf_counter() - start
    known = dict(zip(texts.values(), vectors, strict=True))

    def encode(asked: list[str]) -> np.ndarray:
        new = [text for text in asked if text not in known]
        known.update(zip(new, model.encode_text(new, "query"), strict=True))
        return np.array([known[text] for text in asked])

    index = tfllm.SearchIndex(encode)
    index.add(list(texts.values()), ids=list(texts))
    results = {"documents_per_second": round(len(texts) / seconds, 1)}
    for mode in ("meaning", "words", "both"):
        found = tfllm.evaluate_search(functools.partial(index.search, k=100, mode=mode), scifact)
        for name, value in found.items():
            results[f"scifact_{'' if mode == 'meaning' else mode + '_'}{name}"] = round(value, 4)
    return results, vectors


def indexes(vectors: np.ndarray, count: int = MADE_UP) -> dict:
    """Search approximately and exactly among many vectors: mixtures of real ones, with noise."""
    generator = np.random.default_rng(0)
    left, right = (vectors[generator.integers(len(vectors), size=count + 1000)] for _ in range(2))
    noise = generator.normal(scale=0.5 / np.sqrt(vectors.shape[1]), size=left.shape)
    mixed = unit_vectors(left + right * generator.uniform(size=(len(left), 1)) + noise)
    documents, queries = mixed[:count], mixed[count:]
    results: dict = {}
    exact_rows = None
    for name, index in {"exact": ExactVectors(), "approximate": ApproximateVectors()}.items():
        start = time.perf_counter()
        index.add(documents)
        results[f"{name}_build_seconds"] = round(time.perf_counter() - start, 2)
        start = time.perf_counter()
        rows = np.concatenate([index.search(query[np.newaxis], K)[1] for query in queries])
        results[f"{name}_ms_per_query"] = round(1000 * (time.perf_counter() - start) / len(queries), 3)
        exact_rows = rows if exact_rows is None else exact_rows
    overlap = [len({*row} & {*exact}) / K for row, exact in zip(rows, exact_rows, strict=True)]
    return {**results, "approximate_recall_at_10": round(float(np.mean(overlap)), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder of the data sets, with stsb and scifact")
    parser.add_argument("--documents", type=int, default=0, help="only so many documents of SciFact; 0 for all")
    asked = parser.parse_args()
    model = tfllm.TextEmbedder.from_preset("all_minilm_l6_v2_en")
    results = similarity(model, asked.data)
    print(results, flush=True)
    found, vectors = retrieval(model, asked.data, asked.documents)
    results.update(found)
    print(found, flush=True)
    results.update(indexes(vectors))
    results["bars_met"] = asked.documents > 0 or all(results[name] >= bar for name, bar in BARS.items())
    print(json.dumps(results))


if __name__ == "__main__":
    main()
