"""Who else trains: the cluster that TF_CONFIG, SLURM or an indexed Kubernetes job describes. No TensorFlow here."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tfllm.errors import ConfigError

PORT = 23456
"""The port of each worker where nothing says another (`TFLLM_PORT`)."""

Environment = Mapping[str, str]


def cluster_from_environment(environment: Environment) -> dict[str, Any] | None:
    """Return the cluster as TF_CONFIG holds it, or None if this process trains alone.

    Read, in this order: `TF_CONFIG`; SLURM's `SLURM_STEP_NODELIST`, `SLURM_NTASKS`, `SLURM_PROCID` (several tasks of
    one node take ports after one another); Kubernetes' `JOB_COMPLETION_INDEX` with `TFLLM_WORKERS` (how many) and
    `TFLLM_WORKER_HOSTS` (a host name with `{index}` in it).

    Args:
        environment: the variables, usually `os.environ`.

    Raises:
        ConfigError: variables contradict each other; the message names them.

    Example:
        >>> cluster_from_environment({"JOB_COMPLETION_INDEX": "1", "TFLLM_WORKERS": "2",
        ...                           "TFLLM_WORKER_HOSTS": "train-{index}.train"})["cluster"]["worker"]
        ['train-0.train:23456', 'train-1.train:23456']
    """
    for read in (_tf_config, _slurm, _kubernetes):
        workers, index = read(environment)
        if len(workers) > 1:
            if not 0 <= index < len(workers):
                raise ConfigError(f"Expected a worker's index under {len(workers)}. Received: {index}.")
            return {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
    return None


def _tf_config(environment: Environment) -> tuple[list[str], int]:
    text = environment.get("TF_CONFIG", "")
    if not text:
        return [], 0
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        workers = [*cluster.get("chief", []), *cluster["worker"]]
        index = int(task["index"]) + (len(cluster.get("chief", [])) if task["type"] == "worker" else 0)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            'Expected TF_CONFIG as {"cluster": {"worker": ["host:port", ...]}, '
            '"task": {"type": "worker", "index": 0}}. '
            f"Received: {text!r:.200} ({type(error).__name__}: {error})."
        ) from error
    return workers, index


def _slurm(environment: Environment) -> tuple[list[str], int]:
    names = ("SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID")
    if not all(environment.get(name) for name in names):
        return [], 0
    nodes = expand_hosts(environment["SLURM_STEP_NODELIST"])
    tasks = _number(environment, "SLURM_NTASKS")
    if tasks % len(nodes):
        raise ConfigError(f"Expected as many tasks on every node. Received: {tasks} tasks on {len(nodes)} nodes.")
    each, port = tasks // len(nodes), _port(environment)
    return [f"{node}:{port + task}" for node in nodes for task in range(each)], _number(environment, "SLURM_PROCID")


def _kubernetes(environment: Environment) -> tuple[list[str], int]:
    if not environment.get("JOB_COMPLETION_INDEX") or not environment.get("TFLLM_WORKERS"):
        return [], 0
    hosts = environment.get("TFLLM_WORKER_HOSTS", "")
    if "{index}" not in hosts:
        raise ConfigError(
            f"Expected TFLLM_WORKER_HOSTS with '{{index}}' in it, such as 'train-{{index}}.train'. Received: {hosts!r}."
        )
    workers = _number(environment, "TFLLM_WORKERS")
    names = [f"{hosts.replace('{index}', str(index))}:{_port(environment)}" for index in range(workers)]
    return names, _number(environment, "JOB_COMPLETION_INDEX")


def expand_hosts(text: str) -> list[str]:
    """Return the host names of a SLURM node list.

    Example:
        >>> expand_hosts("gpu[01-03,7],login")
        ['gpu01', 'gpu02', 'gpu03', 'gpu7', 'login']
    """
    hosts = []
    for prefix, ranges, suffix in re.findall(r"([^,\[\]]+)(?:\[([^\]]*)\])?([^,\[\]]*)", text):
        if not ranges:
            hosts.append(prefix + suffix)
        for part in filter(None, ranges.split(",")):
            first, _, last = part.partition("-")
            numbers = range(int(first), int(last or first) + 1)
            hosts += [f"{prefix}{number:0{len(first)}}{suffix}" for number in numbers]
    return hosts


def _port(environment: Environment) -> int:
    return _number(environment, "TFLLM_PORT") if environment.get("TFLLM_PORT") else PORT


def _number(environment: Environment, name: str) -> int:
    try:
        return int(environment[name])
    except ValueError:
        raise ConfigError(f"Expected a whole number in {name}. Received: {environment[name]!r}.") from None
