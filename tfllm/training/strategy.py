"""Where training runs: `get_strategy` finds or makes a `tf.distribute.Strategy`."""

import json
import os
from collections.abc import Mapping

import tensorflow as tf

from tfllm.errors import ConfigError, choices_hint
from tfllm.training.clusters import cluster_from_environment

STRATEGIES = ("auto", "one", "mirrored", "multi_worker", "tpu", "parameter_server")


def get_strategy(name: str | tf.distribute.Strategy = "auto") -> tf.distribute.Strategy:
    """Return the strategy to make a model under; `fine_tune` then trains on all of its replicas.

    "auto" takes the first that fits: several workers, if `TF_CONFIG`, SLURM or an indexed Kubernetes job says that
    there are some; a TPU, if the environment names one; all GPUs, if there are several; otherwise one device.

    Args:
        name: "auto", "one" (one device), "mirrored" (all GPUs of this machine), "multi_worker" (one process a worker),
            "tpu", "parameter_server" (not for `fine_tune`: see Raises), or a strategy, which is returned as it is.

    Returns:
        The strategy. Use it once a process: `with get_strategy().scope(): model = ...`.

    Raises:
        ConfigError: there is no such strategy, or this machine cannot run it; the message says why.

    Example:
        >>> get_strategy("one").num_replicas_in_sync
        1
    """
    if isinstance(name, tf.distribute.Strategy):
        return name
    if name not in STRATEGIES:
        raise ConfigError(f"Expected a strategy. Received: {name!r}. {choices_hint(str(name), STRATEGIES)}")
    return {
        "auto": _auto,
        "one": tf.distribute.get_strategy,
        "mirrored": _mirrored,
        "multi_worker": _multi_worker,
        "tpu": _tpu,
        "parameter_server": _parameter_server,
    }[name]()


def on_processors() -> bool:
    """Return whether models train on processors, for want of a GPU or a TPU."""
    return not any(tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU"))


def _auto() -> tf.distribute.Strategy:
    if cluster_from_environment(os.environ) is not None:
        return _multi_worker()
    if _tpu_address(os.environ) is not None:
        return _tpu()
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return _mirrored()
    return tf.distribute.get_strategy()


def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise ConfigError(
            f"Expected several devices for strategy='mirrored'. Received: {devices[0].name} alone. "
            "Use strategy='one', or 'auto', which chooses."
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker() -> tf.distribute.Strategy:
    cluster = cluster_from_environment(os.environ)
    if cluster is None:
        raise ConfigError(
            "Expected a cluster for strategy='multi_worker': TF_CONFIG, the variables of a SLURM job, or those of an "
            "indexed Kubernetes job. Received: none of them. On one machine: tfllm launch --workers 2 -- train ..."
        )
    os.environ["TF_CONFIG"] = json.dumps(cluster)
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.AUTO
    )
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _tpu_address(environment: Mapping[str, str]) -> str | None:
    names = ("TPU_NAME", "COLAB_TPU_ADDR", "TPU_WORKER_ID")
    found = next((name for name in names if environment.get(name)), None)
    return None if found is None else ("local" if found == "TPU_WORKER_ID" else environment[found])


def _tpu() -> tf.distribute.Strategy:
    address = _tpu_address(os.environ)
    if address is None:
        raise ConfigError(
            "Expected a TPU for strategy='tpu'. Received: none of TPU_NAME, COLAB_TPU_ADDR, TPU_WORKER_ID is set."
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ConfigError(f"Expected the TPU '{address}' to answer. Received: {error}") from error
    return tf.distribute.TPUStrategy(resolver)


def _parameter_server() -> tf.distribute.Strategy:
    raise ConfigError(
        "Expected a synchronous strategy. Received: 'parameter_server', whose workers run without each other: a step "
        "would not be one batch, and a run could not be repeated or resumed exactly. Use 'multi_worker'."
    )
