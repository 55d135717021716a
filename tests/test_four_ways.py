"""The promise of the whole: eager Keras, tf.data, the reloaded SavedModel (both loaders) and gRPC give one answer."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.client.client import Client
from tfllm.exporting.parity import ODD_TEXTS
from tfllm.exporting.reload import run_in_fresh_process
from tfllm.exporting.saved_model import export
from tfllm.server.server import serve
from tfllm.tasks.text_classifier import TextClassifier


def assert_four_ways_agree(model, texts, folder, tolerance=1e-5):
    encoded = [text if isinstance(text, bytes) else text.encode("utf-8") for text in texts]
    eager = model.postprocess(model(model.preprocess(tf.constant(encoded)), training=False))["scores"].numpy()
    mapped = model.postprocess(
        model.predict(tf.data.Dataset.from_tensor_slices(encoded).batch(16), verbose=0)  # tokenized inside tf.data
    )["scores"].numpy()
    version = export(model, folder / "reviews", samples=["good film"])
    objects = np.array([*encoded, None], dtype=object)[:-1]
    reloaded = run_in_fresh_process(version.path, [("serving_default", {"text": objects})])
    with serve(folder, port=0) as server, Client(server.address, model="reviews", timeout=300.0) as client:
        through_grpc = np.array([answer.scores for answer in client.predict(encoded)])
    ways = {
        "tf.data": mapped,
        "saved_model": reloaded["saved_model"][0]["scores"],
        "session": reloaded["session"][0]["scores"],
        "gRPC": through_grpc,
    }
    differences = {name: float(np.abs(scores - eager).max()) for name, scores in ways.items()}
    assert max(differences.values()) <= tolerance, differences
    return differences


def test_four_ways_agree_on_a_micro_model(tmp_path, micro_model):
    assert_four_ways_agree(micro_model, [*ODD_TEXTS, "good film", "the food was awful"], tmp_path)


@pytest.mark.slow
def test_four_ways_agree_on_real_weights_and_texts(tmp_path, measuring_data):
    from tfllm.data.sources import load_dataset

    texts = load_dataset(measuring_data / "sst2" / "dev.csv", text="sentence", label="label").texts[:200]
    model = TextClassifier.from_preset("all_minilm_l6_v2_en", labels=["negative", "positive"])
    model.get_layer("logits").kernel.assign(model.get_layer("logits").kernel * 20)  # scores away from one half
    differences = assert_four_ways_agree(model, [*texts, *ODD_TEXTS], tmp_path)
    print(f"largest difference of scores: {differences}")
