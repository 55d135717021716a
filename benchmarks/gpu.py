"""Race on a GPU: training steps of BERT-base, 32 rows of 128 tokens, mixed precision, against `torch.compile`.

    make bench-gpu            # or: python benchmarks/gpu.py [--layers 12 --width 768 --rows 32 --length 128 --steps 50]

Random weights: only the speed counts. Both sides take the half precision that the GPU has (`precision="auto"`;
autocast), AdamW and gradients clipped at 1.0. Each side runs in a process of its own and prints examples a second.
Without a GPU it says so and measures the processor, in float32.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SKIPPED = 10


def tfllm_side(size: argparse.Namespace) -> dict[str, object]:
    import keras
    import keras_hub
    import pandas as pd
    import tensorflow as tf

    import tfllm
    from tfllm.presets import load_encoder
    from tfllm.tasks.preprocessing import TextPreprocessor
    from tfllm.training.precision import choose_precision

    tokenizer = load_encoder("micro_bert").tokenizer
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30522, num_layers=size.layers, num_heads=size.width // 64, hidden_dim=size.width,
        intermediate_dim=4 * size.width,
    )  # fmt: skip
    model = tfllm.TextClassifier(
        backbone, TextPreprocessor(tokenizer, size.length, segment_ids=True), labels=["a", "b"]
    )
    rows = pd.DataFrame({"text": ["film " * size.length] * (size.rows * (size.steps + _SKIPPED)), "label": "a"})
    rows.loc[::2, "label"] = "b"
    times = []

    class Times(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            float(logs["loss"])  # waits for the step
            times.append(time.perf_counter())

    tfllm.fine_tune(
        model, tfllm.TextDataset(rows), epochs=1, batch_size=size.rows, precision="auto", progress=False,
        callbacks=[Times()],
    )  # fmt: skip
    return {
        "examples_per_second": round(size.rows * size.steps / (times[-1] - times[-size.steps - 1]), 1),
        "devices": [gpu.name for gpu in tf.config.list_physical_devices("GPU")],
        "precision": choose_precision("auto", tf.distribute.get_strategy()),
    }


def torch_side(size: argparse.Namespace) -> dict[str, object]:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    half = torch.bfloat16 if cuda and torch.cuda.get_device_capability() >= (8, 0) else torch.float16
    config = BertConfig(
        num_hidden_layers=size.layers, num_attention_heads=size.width // 64, hidden_size=size.width,
        intermediate_size=4 * size.width,
    )  # fmt: skip
    model = BertForSequenceClassification(config).to(device).train()
    compiled = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=True)
    scaler = torch.amp.GradScaler(device, enabled=cuda and half is torch.float16)
    tokens = torch.randint(1000, 30000, (size.rows, size.length), device=device)
    labels = torch.arange(size.rows, device=device) % 2
    for step in range(size.steps + _SKIPPED):
        if step == _SKIPPED:
            start = _now(torch, cuda)
        optimizer.zero_grad()
        with torch.autocast(device, dtype=half, enabled=cuda):
            loss = compiled(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=labels).loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    seconds = _now(torch, cuda) - start
    return {"examples_per_second": round(size.rows * size.steps / seconds, 1), "devices": [device]}


def _now(torch, cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"layers": 12, "width": 768, "rows": 32, "length": 128, "steps": 50}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--side", choices=["tfllm", "torch"])
    size = parser.parse_args()
    if size.side:
        print(json.dumps((tfllm_side if size.side == "tfllm" else torch_side)(size)))
        return
    results = {}
    for side, environment in {"tfllm": ".venv", "torch": ".venv-peers"}.items():
        command = [str(ROOT / environment / "bin/python"), __file__, *sys.argv[1:], "--side", side]
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=variables)
        results[side] = json.loads(done.stdout.splitlines()[-1])
        print(side, json.dumps(results[side]), flush=True)
    if not results["tfllm"]["devices"]:
        print("No GPU was found: these are figures of the processor.")
    ratio = results["tfllm"]["examples_per_second"] / results["torch"]["examples_per_second"]
    print(f"tfllm / torch.compile: {ratio:.2f}")


if __name__ == "__main__":
    main()
