#!/bin/bash
# One study on Slurm: Ray starts on all nodes of the job, runs it, and stops. A job that is preempted, loses a node or
# comes to its time limit goes back into the queue, and the study goes on where it was.
#
#   sbatch clusters/slurm/study.sh my_study.yaml /shared/runs          what follows goes to `harness run`
#   tail -f harness-JOB.log
#
# The root is a folder that all nodes share, as an absolute path. The environment is .venv beside this checkout.
# Lines that you have to look at are marked (!); `sbatch --partition ... --nodes 4 clusters/slurm/study.sh` wins over them.
#
#SBATCH --job-name=harness
#SBATCH --nodes=2                # (!)
#SBATCH --ntasks-per-node=1      # one Ray node on each; it starts the workers
#SBATCH --exclusive              # two jobs of this kind on one node would be two Ray nodes with one name
#SBATCH --gpus-per-node=1        # (!) leave it out where there are none
#SBATCH --time=24:00:00          # (!)
#SBATCH --requeue                # after preemption, or the death of a node
#SBATCH --open-mode=append       # one log for all of it
#SBATCH --output=harness-%j.log
#SBATCH --signal=B:USR1@300      # five minutes before the time limit this script is told
set -euo pipefail

study=$1
root=$2
shift 2
case $root in
/* | s3://* | gs://*) ;;
*)
    echo "the root is $root; nodes share an absolute path, s3:// or gs://" >&2
    exit 2
    ;;
esac

folder=${SLURM_SUBMIT_DIR:-$PWD}
if [ -x "$folder/.venv/bin/harness" ]; then
    PATH=$folder/.venv/bin:$PATH
fi

# Other users of the nodes must not reach the cluster: whoever does can run any code as you.
unset RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH RAY_ADDRESS # the token is in ~/.ray/auth_token, on every node
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
[ -s "$HOME/.ray/auth_token" ] || (umask 077 && ray get-auth-token --generate >/dev/null)
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600 # seconds; environments on network disks start slowly

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000)) # not the one of another user's head
scratch=/tmp/ray-$SLURM_JOB_ID         # of each node; the folder of a shared /tmp would be one for all

requeue() {
    echo "the time is up: back into the queue" >&2
    kill "$running" || true
    wait "$running" || true
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
}
trap requeue USR1

srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --kill-on-bad-exit=1 \
    ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" --temp-dir "$scratch" -- \
    harness run "$study" --address "$head:$port" --root "$root" "$@" &
running=$!
wait "$running" # in the background, so that the signal is heard
