import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.precision import choose_precision, kernels_advice, precision_of_gpus, precision_of_processor


def test_auto_takes_what_all_gpus_have():
    assert precision_of_gpus([(8, 0), (9, 0)]) == "mixed_bfloat16"
    assert precision_of_gpus([(8, 6), (7, 5)]) == "mixed_float16"
    assert precision_of_gpus([(6, 1)]) == "float32"


@pytest.mark.parametrize(
    "flags, policy",
    [("sse avx2", "float32"), ("avx512f avx512_bf16", "mixed_bfloat16"), ("amx_bf16 amx_tile", "mixed_bfloat16")],
)
def test_auto_takes_what_the_processor_has(flags, policy):
    assert precision_of_processor(f"processor : 0\nflags\t\t: fpu {flags}\n") == policy


def test_auto_looks_at_the_gpus_first(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda gpu: {"device_name": "V100", "compute_capability": (7, 0)}
    )
    assert choose_precision("auto", tf.distribute.get_strategy()) == "mixed_float16"
    assert choose_precision("mixed_bfloat16", tf.distribute.get_strategy()) == "mixed_bfloat16"


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_trains_like_float32_and_leaves_float32(reviews, precision):
    losses, seen = {}, []
    for name in ("float32", precision):
        keras.utils.set_random_seed(0)
        model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"], dropout=0.0)
        attention = model.backbone.get_layer("transformer_layer_0")
        original = attention.call
        attention.call = lambda x, *args, _call=original, **kw: seen.append(x.dtype.name) or _call(x, *args, **kw)
        history = fine_tune(model, reviews, epochs=2, batch_size=8, learning_rate=1e-3, precision=name, progress=False)
        losses[name] = history.epochs[-1]["loss"]
        assert model.backbone.get_layer("transformer_layer_0").compute_dtype == "float32"
        assert {weight.dtype for weight in model.trainable_variables} == {"float32"}
    assert precision.removeprefix("mixed_") in seen
    assert losses[precision] == pytest.approx(losses["float32"], abs=2e-2) and np.isfinite(losses[precision])


@pytest.mark.parametrize(
    "flags, too_late, said",
    [("avx2", True, True), ("avx2", False, False), ("avx2 avx512f", True, False), ("", True, False)],
)
def test_who_is_told_about_one_dnn(flags, too_late, said):
    advice = kernels_advice(f"flags : fpu {flags}", onednn_too_late=too_late)
    assert (advice is not None) == said


@pytest.mark.parametrize("first, too_late", [("tensorflow", True), ("tfllm.presets", False)])
def test_the_order_of_imports_decides(first, too_late):
    code = f"import {first}; from tfllm.presets import ONEDNN_TOO_LATE; print(ONEDNN_TOO_LATE)"
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(too_late)
