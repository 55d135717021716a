"""Blocks that are computed again for their gradients: the same numbers, dropout's draws included."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES, TOKENS, micro_encoder

from tfllm.tasks.loading import make_preprocessor
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.lean_layers import lean_layers
from tfllm.training.precision import encoder_precision
from tfllm.training.recomputation import recomputed_blocks
from tfllm.training.trainable import blocks_of


def step_twice(family, *, recompute, lean, policy="float32"):
    """Return the losses of two steps, whose dropout differs, the last gradients, and the blocks' products."""
    keras.utils.set_random_seed(0)
    encoder = micro_encoder(family)
    model = TextClassifier(encoder.backbone, make_preprocessor(encoder, 20, None), labels=["bad", "good"])
    inputs = {name: tf.constant(TOKENS[name]) for name in model.input}

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = model.loss(np.array([0, 1, 1]), model(inputs, training=True))
        return loss, tape.gradient(loss, [weight.value for weight in model.trainable_variables])

    with contextlib.ExitStack() as stack:
        stack.enter_context(encoder_precision(model, policy))
        if lean:
            stack.enter_context(lean_layers(model))
        if recompute:
            stack.enter_context(recomputed_blocks(model))
        (first, _), (second, gradients) = step(), step()
        graph = step.get_concrete_function().graph
    assert not [block for block in blocks_of(model.backbone) if "call" in vars(block)]
    products = sum(operation.type in ("MatMul", "Einsum", "BatchMatMulV2") for operation in graph.get_operations())
    return [float(first), float(second)], [tf.convert_to_tensor(each).numpy() for each in gradients], products


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lean", [True, False])
def test_the_numbers_stay_the_same_with_dropout(family, lean):
    losses, gradients, products = step_twice(family, recompute=False, lean=lean)
    again_losses, again_gradients, more_products = step_twice(family, recompute=True, lean=lean)
    assert losses[0] != losses[1] and again_losses == losses
    assert more_products > products
    for got, want in zip(again_gradients, gradients, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-7)


def test_in_bfloat16_they_stay_the_same_too():
    losses, gradients, _ = step_twice("bert", recompute=False, lean=True, policy="mixed_bfloat16")
    again_losses, again_gradients, _ = step_twice("bert", recompute=True, lean=True, policy="mixed_bfloat16")
    assert again_losses == losses
    for got, want in zip(again_gradients, gradients, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-3)


class Recomputed(keras.callbacks.Callback):
    """Notes whether the blocks are computed again while a step runs."""

    seen = False

    def on_train_batch_end(self, batch, logs=None):
        self.seen = all("call" in vars(block) for block in blocks_of(self.model.backbone))


def test_training_ends_with_the_same_weights(reviews):
    found = []
    for recompute in (False, True):
        keras.utils.set_random_seed(0)
        model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
        settings = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2, "accumulate": 2, "lora_rank": 2}
        noted = Recomputed()
        fine_tune(model, reviews, recompute=recompute, progress=False, callbacks=[noted], **settings)
        assert noted.seen == recompute
        found.append({weight.path: np.array(weight) for weight in model.weights if "seed" not in weight.path})
    for path, value in found[0].items():
        np.testing.assert_allclose(found[1][path], value, atol=1e-6, err_msg=path)
