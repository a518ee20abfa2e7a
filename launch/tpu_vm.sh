#!/usr/bin/env bash
# A Cloud TPU slice: the same command on every host, which find each other by themselves.
#   TPU=my-slice ZONE=us-east5-a launch/tpu_vm.sh configs/dit_xl.py --mesh data=4,fsdp=16
#   TPU=my-slice ZONE=us-east5-a launch/tpu_vm.sh sample --prompts-file gs://bucket/prompts.txt --out gs://bucket/clips/
# Needs gcloud, and the slice; the repository at this commit is cloned on every host.
set -euo pipefail
: "${TPU:?name the slice: TPU=my-slice}" "${ZONE:?name its zone: ZONE=us-east5-a}"
source=$(git remote get-url origin)
commit=$(git rev-parse HEAD)
case $1 in
  sample | evaluate | encode | train) command=$1 && shift ;;
  *) command=train ;;
esac
arguments=$(printf ' %q' "$@")
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command "
  set -e
  [ -d sorajax ] || git clone '$source' sorajax
  cd sorajax && git fetch --quiet && git checkout --quiet $commit
  [ -d ../environment ] || python3 -m venv ../environment
  . ../environment/bin/activate
  pip install --quiet -e '.[tpu,data]' gcsfs
  python -m sorajax.$command$arguments"
