#!/usr/bin/env bash
# Generate one set on several GPUs (or CPU ranks, where torch sees no GPU) with torchrun.
#   bash tools/dist_generate.sh CONFIG CHECKPOINT GPUS [arguments of tools/generate.py]
# Run it again to continue, with any number of GPUs. Several machines, which share the output folder: run it on
# each with NNODES, NODE_RANK, MASTER_ADDR and PORT set, e.g.
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash tools/dist_generate.sh CONFIG CHECKPOINT 8 --out DIR --strategy hard
set -eu

if [ $# -lt 3 ] || [ "$1" = "-h" ] || [ "$1" = "--help" ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    [ $# -ge 1 ] && [ "$1" != "${1#-}" ] && exit 0
    exit 2
fi

CONFIG=$1
CHECKPOINT=$2
GPUS=$3
shift 3
NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}
PORT=${PORT:-29501}
# The number of threads decides the last grey level on a CPU; with it fixed, pixels do not depend on the ranks.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="$NNODES" --node_rank="$NODE_RANK" --master_addr="$MASTER_ADDR" --master_port="$PORT" \
    --nproc_per_node="$GPUS" \
    "$(dirname "$0")/generate.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "$@"
