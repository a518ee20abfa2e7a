#!/usr/bin/env bash
# Several processes on this machine, e.g. to try a run of many machines with virtual devices:
#   XLA_FLAGS=--xla_force_host_platform_device_count=4 launch/local.sh 2 configs/world_dit.py --mesh data=2,fsdp=4
#   launch/local.sh 2 sample --prompts-file prompts.txt --out clips/
# The first process prints here, the others into OUT.1, OUT.2, ... (OUT: local by default). One that fails stops all.
set -euo pipefail
processes=$1
shift
case $1 in
  sample | evaluate | encode | train) command=$1 && shift ;;
  *) command=train ;;
esac
port=${PORT:-$((20000 + RANDOM % 20000))}
out=${OUT:-local}
export JAX_COORDINATOR_ADDRESS=localhost:$port JAX_NUM_PROCESSES=$processes
pids=()
for process in $(seq 1 $((processes - 1))); do
  JAX_PROCESS_ID=$process python -m "sorajax.$command" "$@" > "$out.$process" 2>&1 &
  pids+=($!)
done
trap 'kill "${pids[@]}" 2> /dev/null || true' EXIT
JAX_PROCESS_ID=0 python -m "sorajax.$command" "$@"
wait
