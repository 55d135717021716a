"""Layers with lean gradients: the numbers of Keras's own, for every family, and only while training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES, micro_encoder

from tfllm.tasks.loading import make_preprocessor
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.lean_layers import gelu, lean_layers

IDS = np.array([[1, 5, 6, 2, 0], [1, 7, 2, 0, 0], [1, 3, 4, 5, 2]], np.int32)
TOKENS = {"token_ids": IDS, "padding_mask": (IDS != 0).astype("int32"), "segment_ids": np.zeros_like(IDS)}


def make_model(family):
    keras.utils.set_random_seed(0)
    encoder = micro_encoder(family)
    return TextClassifier(encoder.backbone, make_preprocessor(encoder, 20, None), labels=["bad", "good"], dropout=0.3)


def loss_and_gradients(model):
    with tf.GradientTape() as tape:
        logits = model({name: tf.constant(TOKENS[name]) for name in model.input}, training=True)
        loss = model.loss(np.array([0, 1, 1]), logits)
    return loss, tape.gradient(loss, [weight.value for weight in model.trainable_variables])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradients_are_those_of_keras(family):
    loss, gradients = loss_and_gradients(make_model(family))
    model = make_model(family)
    with lean_layers(model):
        changed = [layer for layer in model._flatten_layers() if "call" in vars(layer)]
        lean_loss, lean_gradients = loss_and_gradients(model)
    assert len(changed) > 10
    assert not [layer for layer in model._flatten_layers() if "call" in vars(layer)]
    assert float(lean_loss) == pytest.approx(float(loss), abs=1e-6)
    for got, want in zip(lean_gradients, gradients, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(got), tf.convert_to_tensor(want), atol=1e-6)


def test_gelu_is_that_of_keras():
    x = tf.linspace(-6.0, 6.0, 101)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        got, want = gelu(x), keras.activations.gelu(x, approximate=False)
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(got, x), tape.gradient(want, x), atol=1e-6)


def test_half_precision_stays_as_it_is():
    model = make_model("bert")
    for layer in model.backbone._flatten_layers():
        if not isinstance(layer, keras.layers.InputLayer):
            layer.dtype_policy = "mixed_bfloat16"
    with lean_layers(model):
        assert not [layer for layer in model.backbone._flatten_layers() if "call" in vars(layer)]
