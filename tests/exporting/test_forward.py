import keras_hub
import pytest

from tfllm.errors import ExportError
from tfllm.exporting.forward import choose_forward


def test_a_known_encoder_runs_packed(micro_model):
    chosen = choose_forward(micro_model, "bfloat16", 256)
    assert chosen.described() == {"kind": "packed", "precision": "bfloat16", "tokens_per_step": 256, "note": None}


def test_an_unknown_encoder_runs_keras_and_says_so(micro_model):
    micro_model.backbone = keras_hub.models.DebertaV3Backbone(
        vocabulary_size=30, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, bucket_size=4
    )
    chosen = choose_forward(micro_model, "float32")
    assert chosen.graph is None and "does not know DebertaV3Backbone" in chosen.note
    with pytest.raises(ExportError, match="Expected precision='float32'.*Received: precision='bfloat16'"):
        choose_forward(micro_model, "bfloat16")
    with pytest.raises(ExportError, match="Expected no tokens_per_step.*Received: 64"):
        choose_forward(micro_model, "float32", 64)


@pytest.mark.parametrize(("precision", "limit"), [("int8", 1024), ("float32", 0)])
def test_wrong_settings_are_refused(micro_model, precision, limit):
    with pytest.raises(ExportError, match="Received"):
        choose_forward(micro_model, precision, limit)
