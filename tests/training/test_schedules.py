import keras
import numpy as np
import pytest

from tfllm.training.schedules import WarmupDecay
from tfllm.training.settings import CHOICES


def test_the_schedule_rises_and_falls_linearly():
    schedule = WarmupDecay(2.0, warmup_steps=4, total_steps=12)
    rates = [float(schedule(step)) for step in range(14)]
    np.testing.assert_allclose(rates[:5], [0.0, 0.5, 1.0, 1.5, 2.0])
    np.testing.assert_allclose(rates[5:], [1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    "shape, rates", [("cosine", [2.0, 1.0, 0.0]), ("polynomial", [2.0, 0.5, 0.0]), ("constant", [2.0, 2.0, 2.0])]
)
def test_other_shapes_fall_after_the_same_rise(shape, rates):
    schedule = WarmupDecay(2.0, warmup_steps=4, total_steps=12, shape=shape)
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 2)], [0.0, 1.0])
    np.testing.assert_allclose([float(schedule(step)) for step in (4, 8, 12)], rates, atol=1e-6)


def test_the_schedule_without_warmup_starts_at_its_peak():
    assert float(WarmupDecay(2.0, warmup_steps=0, total_steps=10)(0)) == 2.0


@pytest.mark.parametrize("shape", CHOICES["schedule"])
def test_the_schedule_survives_serialization(shape):
    schedule = WarmupDecay(2.0, warmup_steps=4, total_steps=12, shape=shape)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert float(again(6)) == float(schedule(6))
