import pytest
import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.training.strategy import get_strategy


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_NTASKS", "JOB_COMPLETION_INDEX", "TPU_NAME", "COLAB_TPU_ADDR", "TPU_WORKER_ID"):
        monkeypatch.delenv(name, raising=False)


def test_auto_is_one_device_here():
    assert get_strategy().num_replicas_in_sync == 1
    assert get_strategy("auto") is tf.distribute.get_strategy()


def test_a_strategy_of_ones_own():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert get_strategy(strategy) is strategy


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mirored", "mirrored"),
        ("mirrored", "several devices.*alone"),
        ("multi_worker", "TF_CONFIG.*tfllm launch"),
        ("tpu", "TPU_NAME"),
        ("parameter_server", "multi_worker"),
    ],
)
def test_what_cannot_run_says_so_in_one_line(name, words):
    with pytest.raises(ConfigError, match=words) as caught:
        get_strategy(name)
    assert "\n" not in str(caught.value)


def test_auto_takes_the_tpu_that_the_environment_names(monkeypatch):
    monkeypatch.setenv("TPU_NAME", "grpc://127.0.0.1:1")
    resolved = []
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", lambda tpu: resolved.append(tpu) or tpu)
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", lambda resolver: None)
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", lambda resolver: None)
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda resolver: f"TPU at {resolver}")
    assert get_strategy("auto") == "TPU at grpc://127.0.0.1:1" and resolved == ["grpc://127.0.0.1:1"]


def test_auto_takes_all_gpus(monkeypatch):
    gpus = [tf.config.LogicalDevice(f"/device:GPU:{n}", "GPU") for n in range(2)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: devices)
    assert get_strategy("auto") == ["/device:GPU:0", "/device:GPU:1"]
