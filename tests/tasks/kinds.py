"""Every kind of task, for tests that must hold for all of them."""

from families import micro_encoder

from tfllm.tasks.loading import make_preprocessor
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.question_answerer import QuestionAnswerer
from tfllm.tasks.reranker import Reranker
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.tasks.text_embedder import TextEmbedder
from tfllm.tasks.text_regressor import TextRegressor
from tfllm.tasks.token_classifier import TokenClassifier

TEXTS = ["A good film, it's fine.", "déjà vu 😀 [MASK] food"]
PAIRS = [("what was good?", "the film was good"), ("who?", "Ana's film, déjà vu 😀 was bad")]
KINDS = {
    "one_label": (TextClassifier, {"labels": ["bad", "good"]}, TEXTS),
    "one_label_of_pairs": (TextClassifier, {"labels": ["bad", "good"]}, PAIRS),
    "several_labels": (TextClassifier, {"labels": ["bad", "good"], "multi_label": True}, TEXTS),
    "number": (TextRegressor, {"value_range": (0.0, 1.0)}, TEXTS),
    "ranking": (Reranker, {}, PAIRS),
    "embedding": (TextEmbedder, {"query_prefix": "good "}, TEXTS),
    "entities": (TokenClassifier, {"labels": ["city", "person"]}, TEXTS),
    "answers": (QuestionAnswerer, {"overlap": 16}, PAIRS),
    "masks": (MaskedLM, {"top_k": 2}, TEXTS),
}
"""Name -> task, its settings, and rows to answer for."""


def make(kind, family):
    """Return a micro task whose answers differ from text to text."""
    task, settings, _ = KINDS[kind]
    encoder = micro_encoder(family, layers=1)
    model = task(encoder.backbone, make_preprocessor(encoder, 64, None), **settings)
    for layer in model.layers:
        if layer.name == "logits":  # answers that differ
            layer.kernel.assign(layer.kernel * 20)
    return model
