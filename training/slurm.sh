#!/usr/bin/env bash
# Two nodes train together, one task each; the run goes on by itself after a preemption or the end of its time.
#
#   sbatch training/slurm.sh                                  # the settings below
#   sbatch --nodes=4 --export=ALL,DATA=reviews.csv,RUN=runs/reviews training/slurm.sh
#
# The environment with tfllm must be active, and DATA and RUN lie on a file system that all nodes share.
#SBATCH --job-name=tfllm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -uo pipefail

DATA=${DATA:-data/train.csv}
RUN=${RUN:-runs/first}
STORED=143 # what tfllm train ends with after SIGTERM, when the run is stored

srun --kill-on-bad-exit=1 tfllm train "$DATA" --run-dir "$RUN" --strategy multi_worker
status=$?
if [ "$status" -eq "$STORED" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
