import keras
import numpy as np
import pytest

from tfllm.errors import ConfigError
from tfllm.tasks.losses import ClassificationLoss, mean_divergence

LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, 30.0]], "float32")
ROWS = np.array([0, 1])
SEVERAL = np.array([[1, 0, 1], [0, 0, 0]])


def value(loss, targets):
    return float(loss(targets, LOGITS))


def test_without_settings_it_is_cross_entropy():
    assert value(ClassificationLoss(), ROWS) == pytest.approx(
        float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(ROWS, LOGITS)), rel=1e-5
    )
    assert value(ClassificationLoss(multi_label=True), SEVERAL) == pytest.approx(
        float(keras.losses.BinaryCrossentropy(from_logits=True)(SEVERAL, LOGITS)), rel=1e-5
    )


def test_label_smoothing_is_that_of_keras():
    one_hot = np.eye(3)[ROWS]
    smooth = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)(one_hot, LOGITS)
    assert value(ClassificationLoss(label_smoothing=0.2), ROWS) == pytest.approx(float(smooth), rel=1e-5)
    smooth = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)(SEVERAL, LOGITS)
    several = ClassificationLoss(multi_label=True, label_smoothing=0.2)
    assert value(several, SEVERAL) == pytest.approx(float(smooth), rel=1e-5)


def test_focal_loss_is_that_of_keras():
    own = value(ClassificationLoss(multi_label=True, focal_gamma=2.0), SEVERAL)
    keras_loss = keras.losses.BinaryFocalCrossentropy(from_logits=True, gamma=2.0)(SEVERAL, LOGITS)
    assert own == pytest.approx(float(keras_loss), rel=1e-4)
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    by_hand = np.mean([-((1 - p[row, label]) ** 2) * np.log(p[row, label]) for row, label in enumerate(ROWS)])
    assert value(ClassificationLoss(focal_gamma=2.0), ROWS) == pytest.approx(by_hand, rel=1e-4)


def test_weights_of_rows_and_targets_in_a_column():
    loss = ClassificationLoss()
    only_first = float(loss(ROWS[:, None], LOGITS, sample_weight=np.array([2.0, 0.0])))
    assert only_first == pytest.approx(float(loss(ROWS[:1], LOGITS[:1])), rel=1e-5)


@pytest.mark.parametrize("settings", [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"focal_gamma": -1.0}])
def test_settings_out_of_range(settings):
    with pytest.raises(ConfigError, match="Received: "):
        ClassificationLoss(**settings)


def test_it_can_be_stored():
    loss = ClassificationLoss(multi_label=True, focal_gamma=2.0, label_smoothing=0.1)
    assert ClassificationLoss.from_config(loss.get_config()).get_config() == loss.get_config()


def test_the_divergence_of_two_predictions():
    p, q = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    both_ways = (p * np.log(p / q)).sum(axis=1) / 2 + (q * np.log(q / p)).sum(axis=1) / 2
    logits = np.log(p).astype("float32"), np.log(q).astype("float32")
    assert float(mean_divergence(*logits)) == pytest.approx(both_ways.mean(), rel=1e-5)
    assert float(mean_divergence(*logits, np.array([0, 1]))) == pytest.approx(0.0, abs=1e-6)
    yes = [np.log(x[:, :1] / (1 - x[:, :1])).astype("float32") for x in (p, q)]  # one yes or no, as two classes
    assert float(mean_divergence(*yes, multi_label=True)) == pytest.approx(both_ways.mean(), rel=1e-5)
