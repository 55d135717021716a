import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES, micro_encoder, micro_tokenizer

from tfllm.client.client import Client
from tfllm.exporting.operators import listed_operators, listed_versions
from tfllm.exporting.parity import ODD_TEXTS
from tfllm.exporting.preflight import preflight
from tfllm.exporting.reload import run_in_fresh_process
from tfllm.exporting.saved_model import export
from tfllm.server.server import serve
from tfllm.tasks.loading import make_preprocessor
from tfllm.tasks.preprocessing import TextPreprocessor
from tfllm.tasks.text_classifier import TextClassifier

KINDS = ("bert", "albert", "xlm_roberta", "deberta_v3", "roberta")
ONE_OF_A_KIND = ("xlm_roberta", "roberta")


def micro_classifier(family):
    encoder = micro_encoder(family)
    return TextClassifier(encoder.backbone, make_preprocessor(encoder, 32, None), ["bad", "good"])


@pytest.mark.slow
def test_places_are_the_same_in_a_saved_model(tmp_path):
    preprocessors = {family: TextPreprocessor(micro_tokenizer(family)) for family in KINDS}

    def signature(preprocess):
        def locate(text):
            return {name: part.to_tensor() for name, part in preprocess.locate_tokens(text)._asdict().items()}

        return tf.function(locate).get_concrete_function(tf.TensorSpec([None], tf.string, "text"))

    module = tf.Module()
    module.tokenizers = [preprocess.graph_tokenizer for preprocess in preprocessors.values()]
    signatures = {family: signature(preprocess) for family, preprocess in preprocessors.items()}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    texts = np.array([*ODD_TEXTS, None], dtype=object)[:-1]
    answers = run_in_fresh_process(tmp_path, [(family, {"text": texts}) for family in KINDS])
    for loader, outputs in answers.items():
        for family, output in zip(KINDS, outputs, strict=True):
            located = preprocessors[family].locate_tokens(tf.constant(texts.tolist(), tf.string))
            for name, part in located._asdict().items():
                np.testing.assert_array_equal(output[name], part.to_tensor().numpy(), f"{family}, {name}, {loader}")


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=[] if f in ONE_OF_A_KIND else pytest.mark.slow) for f in FAMILIES]
)
def test_every_family_is_exported_and_the_four_ways_agree(tmp_path, family):
    model = micro_classifier(family)
    texts = ["A good film, it's fine.", "déjà vu 😀", ""]
    folder = export(model, tmp_path / "reviews", samples=texts[:2])  # proves Keras, SavedModel and session equal
    assert folder.version == 1
    for server in listed_versions():
        preflight(folder.path, operators=listed_operators(server))
    expected = model.predict_text(texts)
    with serve(tmp_path, port=0) as server, Client(server.address, model="reviews") as client:
        served = client.predict(texts)
    np.testing.assert_allclose([r.scores for r in served], [r.scores for r in expected], atol=1e-5)
    assert [r.label for r in served] == [r.label for r in expected]
