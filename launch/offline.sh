#!/usr/bin/env bash
# Wheels for a machine without a network: what a training imports and the machine lacks, see launch/README.md.
#   launch/offline.sh --python 3.12 --have have.txt --out wheels --for configs/world_large.py
# Runs on a machine with a network and an installed sorajax; PYTHON names its interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH=. exec "${PYTHON:-python}" -m launch.offline "$@"
