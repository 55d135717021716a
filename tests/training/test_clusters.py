import json

import pytest

from tfllm.errors import ConfigError
from tfllm.training.clusters import cluster_from_environment, expand_hosts

TWO = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}


def test_nobody_else():
    assert cluster_from_environment({}) is None
    assert cluster_from_environment({"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "n1"}) is None


def test_tf_config():
    assert cluster_from_environment({"TF_CONFIG": json.dumps(TWO)}) == TWO
    chief = {"cluster": {"chief": ["c:1"], "worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    assert cluster_from_environment({"TF_CONFIG": json.dumps(chief)}) == {
        "cluster": {"worker": ["c:1", "a:1"]},
        "task": {"type": "worker", "index": 1},
    }


def test_slurm_with_two_tasks_a_node():
    found = cluster_from_environment(
        {"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "TFLLM_PORT": "9"}
    )
    assert found["cluster"]["worker"] == ["n1:9", "n1:10", "n2:9", "n2:10"] and found["task"]["index"] == 2


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TF_CONFIG": "{"}, "TF_CONFIG"),
        ({"TF_CONFIG": json.dumps({**TWO, "task": {"type": "worker", "index": 7}})}, "under 2. Received: 7"),
        ({"JOB_COMPLETION_INDEX": "0", "TFLLM_WORKERS": "2"}, "TFLLM_WORKER_HOSTS"),
        ({"JOB_COMPLETION_INDEX": "x", "TFLLM_WORKERS": "2", "TFLLM_WORKER_HOSTS": "t-{index}"}, "whole number"),
        ({"SLURM_STEP_NODELIST": "a,b", "SLURM_NTASKS": "3", "SLURM_PROCID": "0"}, "3 tasks on 2 nodes"),
    ],
)
def test_contradictions_are_named(environment, words):
    with pytest.raises(ConfigError, match=words):
        cluster_from_environment(environment)


def test_node_lists():
    assert expand_hosts("a1") == ["a1"]
    assert expand_hosts("n[8-11]") == ["n8", "n9", "n10", "n11"]
    assert expand_hosts("x[01,03]-ib,y") == ["x01-ib", "x03-ib", "y"]
