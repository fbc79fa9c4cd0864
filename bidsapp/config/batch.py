"""Batch systems: what their scripts say, and how their jobs are submitted."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

LARGEST = 1000
"""Largest index of an array where none is known: Slurm's own default is 1001 indices from 0."""


@dataclass(frozen=True)
class System:
    """One batch system.

    Attributes
    ----------
    directives : tuple of str
        Lines at the head of every script.
    array : str
        Line for an array of ``count`` tasks.
    gpu : str
        Line for GPUs.
    index : str
        Number of the task, as an expression of the shell.
    job : tuple of str
        Variables that a container is given, so that it knows its job.
    submit : str
        Lines of the shell that submit ``$script`` and set ``id``.
    after : str
        Lines that submit ``$script`` after all jobs in the array ``ids`` have ended.
    """

    directives: tuple[str, ...]
    array: str
    gpu: str
    index: str
    job: tuple[str, ...]
    submit: str
    after: str


SYSTEMS = {
    "slurm": System(
        directives=(
            "#SBATCH --job-name={name}",
            "#SBATCH --nodes=1",
            "#SBATCH --ntasks=1",
            "#SBATCH --cpus-per-task={cpus}",
            "#SBATCH --mem={memory_mib}M",
            "#SBATCH --time={clock}",
            "#SBATCH --output={logs}/%x-{job_log}.log",
        ),
        array="#SBATCH --array=1-{count}",
        gpu="#SBATCH --gres=gpu:{gpus}",
        index="${SLURM_ARRAY_TASK_ID:?submit this script with sbatch}",
        job=("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"),
        submit='id=$(sbatch --parsable "$@" "$script"); id=${id%%;*}',
        after='sbatch --dependency="afterany:$(IFS=:; echo "${ids[*]}")" "$@" "$script"',
    ),
    "sge": System(
        directives=(
            "#$ -N {name}",
            "#$ -S /bin/bash",
            "#$ -pe smp {cpus}",
            "#$ -l mem_free={memory_per_cpu_mib}M",
            "#$ -l h_rt={clock}",
            "#$ -j y",
            "#$ -o {logs}",
        ),
        array="#$ -t 1-{count}",
        gpu="#$ -l gpu={gpus}",
        index="${SGE_TASK_ID:?submit this script with qsub}",
        job=("JOB_ID", "SGE_TASK_ID"),
        submit='id=$(qsub -terse "$@" "$script"); id=${id%%.*}',
        after='qsub -hold_jid "$(IFS=,; echo "${ids[*]}")" "$@" "$script"',
    ),
    "pbs": System(
        directives=(
            "#PBS -N {name}",
            "#PBS -l select=1:ncpus={cpus}:mem={memory_mib}mb{gpu_chunk}",
            "#PBS -l walltime={clock}",
            "#PBS -j oe",
            "#PBS -o {logs}/",
        ),
        array="#PBS -J 1-{count}",
        gpu="",
        index="${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-1}}",
        job=("PBS_JOBID",),
        submit='id=$(qsub "$@" "$script")',
        after='qsub -W "depend=afterany:$(IFS=:; echo "${ids[*]}")" "$@" "$script"',
    ),
    "lsf": System(
        directives=(
            "#BSUB -n {cpus}",
            '#BSUB -R "span[hosts=1] rusage[mem={memory_mib}MB]"',
            "#BSUB -M {memory_mib}MB",
            "#BSUB -W {hours_minutes}",
            "#BSUB -o {logs}/{name}-%J_%I.log",
        ),
        array='#BSUB -J "{name}[1-{count}]"',
        gpu='#BSUB -gpu "num={gpus}"',
        index="${LSB_JOBINDEX:?submit this script with bsub}",
        job=("LSB_JOBID", "LSB_JOBINDEX"),
        submit="""id=$(bsub "$@" < "$script" | sed -n 's/.*<\\([0-9]*\\)>.*/\\1/p' | head -n 1)""",
        after="""ended=$(printf ' && ended(%s)' "${ids[@]}"); bsub -w "${ended# && }" "$@" < "$script\"""",
    ),
}
"""Batch systems by name."""

ENGINES = ("snakemake", "nextflow", "babs")
"""Workflow engines, which submit tasks themselves."""

ENGINE = System(
    directives=(),
    array="",
    gpu="",
    index="${1:?give the number of a line of participants.txt}",
    job=(),
    submit="",
    after="",
)
"""A workflow engine: it calls the script with the number of the task."""


def largest_index() -> int:
    """Return the largest index of an array that Slurm here allows; its default where there is no Slurm."""
    program = shutil.which("scontrol")
    if program:
        try:
            done = subprocess.run(
                [program, "show", "config"], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return LARGEST
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.M)
        if found and int(found[1]) > 1:
            return int(found[1]) - 1
    return LARGEST
