"""The files of training/ fit their schemas, pass their linters, and set up the cluster that `tfllm train` expects."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import kubernetes_validate
import pytest
import yaml

from tfllm.cli.training import train
from tfllm.training.clusters import PORT, cluster_from_environment

PREEMPTED = 143  # what the command line ends with, see tests/cli
TRAINING = Path(__file__).parents[2] / "training"
SCRIPTS = sorted(TRAINING.glob("*.sh"))
MANIFESTS = sorted(path for path in TRAINING.rglob("*.yaml") if path.name != "kustomization.yaml")
FILES = [TRAINING / "Dockerfile", *SCRIPTS, *sorted(TRAINING.rglob("*.yaml"))]


def program(name):
    found = Path(sys.executable).with_name(name)
    if not found.is_file():
        pytest.skip(f"no {name} for this platform")
    return found


def manifest(name):
    return yaml.safe_load((TRAINING / "kubernetes" / f"{name}.yaml").read_text("utf-8"))


@pytest.fixture
def container():
    (found,) = manifest("job")["spec"]["template"]["spec"]["containers"]
    return found


def variables(script):
    """Return the cluster's variables that SLURM would set for the nodes that a script asks for."""
    asked = dict(re.findall(r"#SBATCH --(nodes|ntasks-per-node)=(\d+)", script))
    nodes, each = int(asked["nodes"]), int(asked["ntasks-per-node"])
    return {"SLURM_STEP_NODELIST": f"node[1-{nodes}]", "SLURM_NTASKS": str(nodes * each), "SLURM_PROCID": "0"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_says_what_it_is_for_and_how_it_is_used(path):
    lines = path.read_text("utf-8").splitlines()
    head = "\n".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert len(head) > 60
    assert any(command in head for command in ("docker ", "kubectl ", "sbatch ", "training/tpu_vm.sh ")), head


def test_the_readme_names_every_file():
    text = (TRAINING / "README.md").read_text("utf-8")
    assert all(path.name in text for path in TRAINING.iterdir() if path.name != "README.md")


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_fits_the_schema(path, version):
    kubernetes_validate.validate(manifest(path.stem), version, strict=True)


def test_kustomize_takes_every_manifest():
    assert sorted(manifest("kustomization")["resources"]) == [path.name for path in MANIFESTS]


def test_the_job_makes_the_cluster_that_its_service_names(container):
    job, service = manifest("job"), manifest("service")
    workers = job["spec"]["completions"]
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    for index in range(workers):
        cluster = cluster_from_environment({**given, "JOB_COMPLETION_INDEX": str(index)})
        pods = [f"{job['metadata']['name']}-{each}.{service['metadata']['name']}:{PORT}" for each in range(workers)]
        assert cluster == {"cluster": {"worker": pods}, "task": {"type": "worker", "index": index}}
    pod = job["spec"]["template"]
    assert job["spec"]["parallelism"] == workers
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert {port["port"] for port in service["spec"]["ports"]} == {PORT}


def test_the_job_mounts_its_volume_and_does_not_count_preemptions(container):
    spec = manifest("job")["spec"]
    (claim,) = [v for v in spec["template"]["spec"]["volumes"] if "persistentVolumeClaim" in v]
    assert claim["persistentVolumeClaim"]["claimName"] == manifest("volume")["metadata"]["name"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == claim["name"]]
    settings = train.make_context("train", container["args"][1:]).params
    assert all(Path(settings[name]).is_relative_to(mounts[0]) for name in ("data", "run_dir"))
    exit_codes = [rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert {"containerName": "train", "operator": "In", "values": [PREEMPTED]} in exit_codes


def test_the_image_and_the_job_have_a_folder_to_fetch_presets_to(container):
    """The user of the image has no home of its own, and the job's root is read-only."""
    text = (TRAINING / "Dockerfile").read_text("utf-8")
    (image,) = re.findall(r"^ENV (HOME=(?:.*\\\n)*.*)$", text, re.MULTILINE)
    variables = dict(re.findall(r"(\w+)=(\S+)", image))
    (volumes,) = re.findall(r"^VOLUME (.*)$", text, re.MULTILINE)
    (made,) = re.findall(r"^RUN install --directory --owner=10001 --group=10001 (.*)$", text, re.MULTILINE)
    assert set(json.loads(volumes)) == set(made.split()) >= {variables["HOME"]}
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    for name in ("HOME", "KAGGLEHUB_CACHE", "KERAS_HOME", "MPLCONFIGDIR"):
        assert any(Path(variables[name]).is_relative_to(mount) for mount in mounts), name


def test_the_job_gives_up_at_once_on_a_wrong_command_line_alone():
    """What else tfllm refuses ends with 1, as an error that a retry may mend: see docs/cli.md."""
    rules = manifest("job")["spec"]["podFailurePolicy"]["rules"]
    (codes,) = [rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "FailJob"]
    with pytest.raises(click.UsageError) as wrong:
        train.make_context("train", ["data.csv", "--epochs", "many", "--run-dir", "run"])
    assert codes == [wrong.value.exit_code]


def test_hadolint_finds_nothing():
    done = subprocess.run(
        [program("hadolint"), "--format=json", TRAINING / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path):
    assert os.access(path, os.X_OK)
    done = subprocess.run([program("shellcheck"), path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_slurm_starts_what_tfllm_train_takes():
    script = (TRAINING / "slurm.sh").read_text("utf-8")
    (command,) = re.findall(r"^srun .*tfllm train (.*)$", script, re.MULTILINE)
    settings = train.make_context("train", shlex.split(command)).params
    assert settings["strategy"] == "multi_worker"
    workers = cluster_from_environment(variables(script))["cluster"]["worker"]
    assert workers == [f"node1:{PORT}", f"node2:{PORT}"]


@pytest.mark.parametrize("status, requeued", [(0, False), (1, False), (PREEMPTED, True)])
def test_slurm_requeues_a_stored_run(tmp_path, status, requeued):
    for name, line in {"srun": f"exit {status}", "scontrol": f'echo "$@" > {tmp_path}/asked'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "77"}
    done = subprocess.run([TRAINING / "slurm.sh"], env=environment, check=False)
    assert done.returncode == status
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else None) == ("requeue 77\n" if requeued else None)


@pytest.mark.parametrize("given, expected", [({}, "local"), ({"TPU_NAME": "other"}, "other")])
def test_the_tpu_machine_trains_on_its_own_tpu(tmp_path, given, expected):
    """With stand-ins for gcloud, which runs the command here, and for what the command calls."""
    programs = {
        "gcloud": 'while [ "$#" -gt 0 ]; do [ "$1" != --command ] || exec bash -c "$2"; shift; done',
        "python3": "mkdir -p tfllm/bin && touch tfllm/bin/activate",
        "pip": "exit 0",
        "tfllm": f'echo "$TPU_NAME" "$@" > {tmp_path}/called',
    }
    for name, line in programs.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", **given}
    command = [TRAINING / "tpu_vm.sh", "my-tpu", "a-zone", "data/reviews.csv", "--text", "a review"]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True)
    called = (tmp_path / "called").read_text().split()
    assert called == [expected, "train", "reviews.csv", *"--run-dir runs/first --strategy tpu --text a review".split()]
