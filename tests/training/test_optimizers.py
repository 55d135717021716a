import keras
import numpy as np

from tfllm.training.optimizers import LinearWarmupDecay, adamw


def test_the_schedule_rises_and_falls_linearly():
    schedule = LinearWarmupDecay(2.0, warmup_steps=4, total_steps=12)
    rates = [float(schedule(step)) for step in range(14)]
    np.testing.assert_allclose(rates[:5], [0.0, 0.5, 1.0, 1.5, 2.0])
    np.testing.assert_allclose(rates[5:], [1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0], atol=1e-6)


def test_the_schedule_without_warmup_starts_at_its_peak():
    assert float(LinearWarmupDecay(2.0, warmup_steps=0, total_steps=10)(0)) == 2.0


def test_the_schedule_survives_serialization():
    schedule = LinearWarmupDecay(2.0, warmup_steps=4, total_steps=12)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert float(again(6)) == float(schedule(6))


def test_only_matrices_decay(micro_model):
    optimizer = adamw(1.0, weight_decay=0.5)
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
        optimizer = adamw(0.1, weight_decay=0.0, clip_norm=1.0)
        optimizer.build([variable])
        optimizer.apply([np.full(4, scale, "float32")])
        steps[scale] = float(np.array(optimizer.variables[2])[0])  # the first moment sees the clipped gradient
    assert steps[10.0] == steps[1000.0] and abs(steps[10.0] - 0.1 * 0.5) < 1e-6
