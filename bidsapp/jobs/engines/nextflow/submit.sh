#!/bin/bash
# Runs all tasks, and the group level after them. Arguments are options of Nextflow, such as -profile slurm;
# their paths must be absolute. -resume continues after the last finished task.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec nextflow run main.nf -params-file request.json "$@"
