"""Layers with lean gradients: the numbers of Keras's own, for every family, and only while training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES, IDS, TOKENS, micro_encoder

from tfllm.tasks.loading import make_preprocessor
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.lean_gradients import dropout, gelu, gelu_by_tanh
from tfllm.training.lean_layers import _lean_activation, _lean_call, lean_layers


def make_model(family, dropout=0.0, **settings):
    keras.utils.set_random_seed(0)
    encoder = micro_encoder(family)
    for layer in encoder.backbone._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = dropout
    preprocessor = make_preprocessor(encoder, 20, None)
    return TextClassifier(encoder.backbone, preprocessor, labels=["bad", "good"], dropout=dropout, **settings)


def loss_and_gradients(model):
    with tf.GradientTape() as tape:
        logits = model({name: tf.constant(TOKENS[name]) for name in model.input}, training=True)
        loss = model.loss(np.array([0, 1, 1]), logits)
    return loss, tape.gradient(loss, [weight.value for weight in model.trainable_variables])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling, processors", [("cls", True), ("mean", True), ("cls", False)])
def test_the_gradients_are_those_of_keras(family, pooling, processors, monkeypatch):
    monkeypatch.setattr("tfllm.training.lean_layers.on_processors", lambda: processors)
    loss, gradients = loss_and_gradients(make_model(family, pooling=pooling))
    model = make_model(family, pooling=pooling)
    with lean_layers(model):
        changed = [layer for layer in model._flatten_layers() if "call" in vars(layer)]
        lean_loss, lean_gradients = loss_and_gradients(model)
    assert len(changed) > 10 if processors else len(changed) == (family not in ("albert", "deberta_v3"))
    assert not [layer for layer in model._flatten_layers() if "call" in vars(layer)]
    assert float(lean_loss) == pytest.approx(float(loss), abs=1e-6)
    for got, want in zip(lean_gradients, gradients, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(got), tf.convert_to_tensor(want), atol=1e-6)


@pytest.mark.parametrize("lean, approximate", [(gelu, False), (gelu_by_tanh, True)])
def test_gelu_is_that_of_keras(lean, approximate):
    x = tf.linspace(-6.0, 6.0, 101)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        got, want = lean(x), keras.activations.gelu(x, approximate=approximate)
    np.testing.assert_allclose(got, want, atol=5e-6)  # near zero Keras's form by tanh loses digits
    np.testing.assert_allclose(tape.gradient(got, x), tape.gradient(want, x), atol=5e-6)


def test_a_layer_has_the_gelu_that_it_had():
    assert _lean_activation(lambda x: keras.activations.gelu(x, approximate=True)) is gelu_by_tanh
    assert _lean_activation(lambda x: keras.activations.gelu(x, approximate=False)) is gelu
    assert _lean_activation(keras.activations.relu) is keras.activations.relu


@pytest.mark.parametrize("lean", [gelu, gelu_by_tanh])
def test_gelu_of_bfloat16_is_that_of_float32_rounded(lean):
    x = tf.cast(tf.linspace(-6.0, 6.0, 101), tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(x)
        got = lean(x)
    slopes = tape.gradient(got, x)
    assert got.dtype == slopes.dtype == tf.bfloat16
    np.testing.assert_array_equal(got, tf.cast(lean(tf.cast(x, tf.float32)), tf.bfloat16))
    assert float(slopes[-1]) == pytest.approx(1.0, abs=0.01) and float(slopes[0]) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_dropout_keeps_the_mean_and_its_gradient_drops_the_same(dtype):
    x, seed = tf.ones([200, 33], dtype), tf.constant([3, 5])
    with tf.GradientTape() as tape:
        tape.watch(x)
        dropped = dropout(x, 0.1, seed)
    assert dropped.dtype == dtype and set(np.unique(dropped)) == {0.0, dropped.numpy().max()}
    assert float(tf.reduce_mean(tf.cast(dropped, tf.float32))) == pytest.approx(1.0, abs=0.02)
    assert float(tf.reduce_mean(tf.cast(dropped == 0, tf.float32))) == pytest.approx(0.1, abs=0.02)
    np.testing.assert_array_equal(tape.gradient(dropped, x), dropped)
    np.testing.assert_array_equal(dropout(x, 0.1, seed), dropped)
    assert not np.array_equal(dropout(x, 0.1, seed + 1), dropped)


def test_a_layer_drops_others_each_time_and_none_when_it_does_not_train():
    model = make_model("bert", dropout=0.5)
    tokens = {name: tf.constant(TOKENS[name]) for name in model.input}
    with lean_layers(model):
        first, second = model(tokens, training=True), model(tokens, training=True)
        still = model(tokens, training=False)
    assert not np.allclose(first, second)
    np.testing.assert_allclose(still, model(tokens, training=False), atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "distil_bert", "roberta", "xlm_roberta", "electra"])
@pytest.mark.parametrize("pooling, computed", [("cls", 1), ("mean", IDS.shape[1])])
def test_where_the_head_reads_the_first_token_the_last_layer_computes_no_other(family, pooling, computed):
    model, seen = make_model(family, pooling=pooling), []
    with lean_layers(model):
        last = [layer for layer in model.backbone.layers if layer.name.startswith("transformer_layer")][-1]
        call = last.call
        last.call = lambda *args, **kwargs: seen.append(call(*args, **kwargs)) or seen[-1]
        model({name: tf.constant(TOKENS[name]) for name in model.input})
    assert [output.shape[1] for output in seen] == [computed]


@pytest.mark.parametrize(
    "other", [{"use_bias": False}, {"value_dim": 8}, {"use_gate": True}, {"sliding_window": 2}, {}]
)
def test_an_attention_that_is_not_berts_stays_as_it_is(other):
    attention = keras.layers.MultiHeadAttention(num_heads=2, key_dim=4, **other)
    attention.build((2, 5, 8), (2, 5, 8))
    assert (_lean_call(attention) is None) == bool(other)


def in_half_precision(model, policy):
    for layer in model.backbone._flatten_layers():
        if not isinstance(layer, keras.layers.InputLayer):
            layer.dtype_policy = policy
    return model


def flat(gradients):
    return np.concatenate([np.ravel(tf.cast(tf.convert_to_tensor(gradient), tf.float32)) for gradient in gradients])


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_the_gradients_are_as_near_to_those_of_float32_as_kerass(family, monkeypatch):
    monkeypatch.setattr("tfllm.training.lean_layers.on_processors", lambda: True)
    exact_loss, exact = loss_and_gradients(make_model(family))
    keras_loss, from_keras = loss_and_gradients(in_half_precision(make_model(family), "mixed_bfloat16"))
    model = in_half_precision(make_model(family), "mixed_bfloat16")
    with lean_layers(model):
        changed = [layer for layer in model._flatten_layers() if "call" in vars(layer)]
        loss, gradients = loss_and_gradients(model)
    assert len(changed) > 10
    assert [gradient.dtype for gradient in gradients] == [tf.float32] * len(gradients)
    assert abs(float(loss) - float(exact_loss)) <= abs(float(keras_loss) - float(exact_loss)) + 1e-3
    off, off_in_keras = (np.linalg.norm(flat(found) - flat(exact)) for found in (gradients, from_keras))
    assert 0 < off < 1.5 * off_in_keras
    assert off < 0.05 * np.linalg.norm(flat(exact))


def test_in_float16_only_the_last_layer_is_another(monkeypatch):
    monkeypatch.setattr("tfllm.training.lean_layers.on_processors", lambda: True)
    model = in_half_precision(make_model("bert"), "mixed_float16")
    with lean_layers(model):
        changed = [layer.name for layer in model.backbone._flatten_layers() if "call" in vars(layer)]
    assert changed == ["transformer_layer_1"]
