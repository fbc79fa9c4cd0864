#!/bin/bash
# Runs all tasks, and the group level after them. Arguments are options of Snakemake: --cores 8, or
# --executor slurm --jobs 100.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=(--snakefile "$folder/Snakefile" --directory "$folder" --rerun-incomplete --nolock)
snakemake participants "${run[@]}" --keep-going "$@" || failed=$?
snakemake group "${run[@]}" "$@"
exit "${failed:-0}"
