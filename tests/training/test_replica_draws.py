"""Which numbers the replicas drop, with lean layers and with blocks that are computed again."""

import json
import os
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.replica_draws import replica_draws

TWO_DEVICES = """
import json, sys
import keras, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.fine_tuning import FineTuneConfig
from tfllm.training.preparation import computing
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    keras.utils.set_random_seed(0)
    model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
tokens = model.preprocess(tf.constant(["a good film"] * 4))
settings = FineTuneConfig(recompute=sys.argv[1] == "recomputed")
with computing(model, settings):
    step = tf.function(lambda: strategy.run(lambda: model(tokens, training=True)))
    steps = [[part.numpy().tolist() for part in strategy.experimental_local_results(step())] for _ in range(2)]
print(json.dumps(steps))
"""


def steps_of(way):
    """Return the logits of two steps on two replicas that have the same rows."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, way], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["lean", "recomputed"])
def test_two_replicas_drop_different_numbers(way):
    first, second = steps_of(way)
    assert first[0] != first[1] and second[0] != second[1]
    assert first[0] != second[0]


def test_one_replica_draws_what_keras_draws():
    keras.utils.set_random_seed(0)
    model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
    generators = [layer.seed_generator for layer in model._flatten_layers() if hasattr(layer, "seed_generator")]
    with replica_draws(model):
        assert generators and not any("next" in vars(generator) for generator in generators)
        assert model(model.preprocess(tf.constant(["a film"])), training=True).shape == (1, 2)
