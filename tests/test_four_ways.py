"""The promise of the whole: eager Keras, tf.data, the reloaded SavedModel (both loaders) and gRPC give one answer.

Each task's own test runs the whole contract on micro models (`tests/tasks/contract.py`); here stand real weights.
"""

import pytest
from contract import check_four_ways

from tfllm.exporting.parity import ODD_TEXTS
from tfllm.tasks.text_classifier import TextClassifier


def test_four_ways_agree_on_a_micro_model(tmp_path, micro_model):
    check_four_ways(micro_model, [*ODD_TEXTS, "good film", "the food was awful"], tmp_path)


@pytest.mark.slow
def test_four_ways_agree_on_real_weights_and_texts(tmp_path, measuring_data):
    from tfllm.data.sources import load_dataset

    texts = load_dataset(measuring_data / "sst2" / "dev.csv", text="sentence", label="label").texts[:200]
    model = TextClassifier.from_preset("all_minilm_l6_v2_en", labels=["negative", "positive"])
    model.get_layer("logits").kernel.assign(model.get_layer("logits").kernel * 20)  # scores away from one half
    differences = check_four_ways(model, [*texts, *ODD_TEXTS], tmp_path)
    print(f"largest difference of scores: {differences}")
