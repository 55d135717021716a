#!/usr/bin/env bash
# Train on one TPU machine of Google Cloud (eight cores), and take the run home.
#
#   training/tpu_vm.sh NAME ZONE [ARGUMENT...]        # arguments are those of tfllm train
#   training/tpu_vm.sh my-tpu us-central1-a reviews.csv --text review --label stars
#
# Needs gcloud with a project, and tensorflow-tpu of TensorFlow's own version (2.20 was the newest in November 2026: until
# 2.21 is out, pip stops here). The machine is made if it is not there, and stays: delete it with
#   gcloud compute tpus tpu-vm delete NAME --zone ZONE
set -euo pipefail

NAME=${1:?a name for the machine} ZONE=${2:?its zone}
shift 2
[ "$#" -gt 0 ] || set -- data/train.csv
DATA=$1
shift

tpu() { gcloud compute tpus tpu-vm "$@" --zone "$ZONE"; }

if ! tpu describe "$NAME" > /dev/null 2>&1; then
    tpu create "$NAME" --accelerator-type v3-8 --version tpu-ubuntu2204-base
fi
tpu scp "$DATA" "$NAME:"
arguments=$(printf ' %q' "$@")
# On the machine itself TensorFlow finds the TPU under the name `local`.
tpu ssh "$NAME" --command "
    set -e
    export TPU_NAME=\${TPU_NAME:-local}
    python3 -m venv tfllm && . tfllm/bin/activate
    pip install --quiet 'tfllm[train]' 'tensorflow-tpu>=2.21,<2.22'
    tfllm train '$(basename "$DATA")' --run-dir runs/first --strategy tpu$arguments"
tpu scp --recurse "$NAME:runs/first" runs/
