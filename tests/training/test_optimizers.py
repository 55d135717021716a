import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.training.optimizers import AdamW, deduplicated, make_optimizer
from tfllm.training.settings import CHOICES


def test_only_matrices_decay(micro_model):
    optimizer = make_optimizer("adamw", 1.0, weight_decay=0.5)
    optimizer.build(micro_model.trainable_variables)
    before = {variable.path: np.array(variable) for variable in micro_model.trainable_variables}
    optimizer.apply([np.zeros(v.shape, "float32") for v in micro_model.trainable_variables])
    for variable in micro_model.trainable_variables:
        name, old = variable.path, before[variable.path]
        decays = not (name.endswith(("bias", "gamma", "beta")) or "layer_norm" in name)
        np.testing.assert_allclose(np.array(variable), old * 0.5 if decays else old, atol=1e-6, err_msg=name)
    assert any(path.endswith("bias") for path in before) and any("layer_norm" in path for path in before)


def test_the_gradient_is_clipped_by_its_global_norm():
    steps = {}
    for scale in (10.0, 1000.0):
        variable = keras.Variable(np.zeros(4, "float32"))
        optimizer = make_optimizer("adamw", 0.1, weight_decay=0.0, clip_norm=1.0)
        optimizer.build([variable])
        optimizer.apply([np.full(4, scale, "float32")])
        steps[scale] = float(np.array(optimizer._momentums[0])[0])  # the first moment sees the clipped gradient
    assert steps[10.0] == steps[1000.0] and abs(steps[10.0] - 0.1 * 0.5) < 1e-6


def updates(optimizer, gradients):
    variables = [keras.Variable(np.linspace(-1, 1, 6).reshape(3, 2).astype("float32"), name="kernel")]
    optimizer.build(variables)
    for gradient in gradients:
        optimizer.apply([gradient])
    return np.array(variables[0])


@pytest.mark.parametrize("name, keras_class", [("adamw", "AdamW"), ("lamb", "Lamb"), ("adafactor", "Adafactor")])
def test_updates_are_those_of_keras(name, keras_class):
    generator = np.random.default_rng(0)
    gradients = [generator.normal(size=(3, 2)).astype("float32") for _ in range(4)]
    extra = {"relative_step": False} if name == "adafactor" else {"epsilon": 1e-8 if name == "adamw" else 1e-6}
    theirs = getattr(keras.optimizers, keras_class)(0.1, weight_decay=0.2, global_clipnorm=1.0, **extra)
    ours = make_optimizer(name, 0.1, weight_decay=0.2)
    np.testing.assert_allclose(updates(ours, gradients), updates(theirs, gradients), atol=1e-5)


@pytest.mark.parametrize("name", CHOICES["optimizer"])
def test_slices_of_a_table_count_as_the_whole_gradient(name):
    slices = tf.IndexedSlices(tf.constant([[1.0, 2.0]]), tf.constant([1]), tf.constant([3, 2]))
    dense = updates(make_optimizer(name, 0.1), [tf.convert_to_tensor(slices)] * 3)
    np.testing.assert_allclose(updates(make_optimizer(name, 0.1), [slices] * 3), dense, atol=1e-7)


def test_a_row_that_is_there_twice_counts_once_in_the_norm():
    slices = tf.IndexedSlices(tf.constant([[30.0, 0.0], [0.0, 40.0]]), tf.constant([1, 1]), tf.constant([3, 2]))
    optimizer = make_optimizer("adamw", 0.1, clip_norm=5.0)
    updates(optimizer, [slices])
    want = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]) * 0.1
    np.testing.assert_allclose(np.array(optimizer._momentums[0]), want, atol=1e-6)


def test_a_row_that_is_not_finite_is_seen_beside_one_that_is():
    slices = tf.IndexedSlices(tf.constant([[np.nan, 0.0], [1.0, 1.0]]), tf.constant([1, 1]), tf.constant([3, 2]))
    optimizer = keras.optimizers.LossScaleOptimizer(make_optimizer("adamw", 0.1), initial_scale=8.0)
    weights = updates(optimizer, [deduplicated(slices)])
    np.testing.assert_array_equal(weights, np.linspace(-1, 1, 6).reshape(3, 2).astype("float32"))
    assert float(optimizer.dynamic_scale) == 4.0


def test_other_ways_to_clip_are_those_of_keras():
    optimizer = AdamW(0.1, clipvalue=0.5)
    updates(optimizer, [np.full((3, 2), 4.0, "float32")])
    np.testing.assert_allclose(np.array(optimizer._momentums[0]), 0.05, atol=1e-7)


@pytest.mark.parametrize("name", CHOICES["optimizer"])
def test_a_factor_of_0_keeps_a_weight(name):
    optimizer = make_optimizer(name, 0.1)
    optimizer.factors = [0.0]
    kept = updates(optimizer, [np.ones((3, 2), "float32")])
    np.testing.assert_array_equal(kept, np.linspace(-1, 1, 6).reshape(3, 2).astype("float32"))
