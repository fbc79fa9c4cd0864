#!/bin/bash
# Makes a BABS project. CONTAINERS is the DataLad dataset with the image, PROJECT the folder of the new project:
#     bash submit.sh CONTAINERS PROJECT
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name={{ container_name }}
containers=${1:?give the DataLad dataset with the image: datalad create CONTAINERS; datalad containers-add -d CONTAINERS --url {{ image }} $name}
project=${2:?give the folder of the new project}
babs init --container_ds "$containers" --container_name "$name" --container_config "$folder/babs.yaml" \
    --list_sub_file "$folder/participants.csv" --processing_level subject --queue slurm "$project"
echo "Next: babs check-setup --job-test $project; babs submit $project; babs status $project; babs merge $project"
