"""Stand-ins for the programs of batch systems: they run the tasks of an array at once, one after the other.

``install(FOLDER)`` writes ``sbatch``, ``qsub``, ``bsub`` and ``apptainer`` into a folder for PATH. The first
three read the directives of a script, run it for every task, and note the call in ``FOLDER/calls``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ARRAYS = {
    "sbatch": (r"#SBATCH --array=1-(\d+)", "SLURM_ARRAY_TASK_ID", "{}"),
    "sge": (r"#\$ -t 1-(\d+)", "SGE_TASK_ID", "{}.1-9:1"),
    "pbs": (r"#PBS -J 1-(\d+)", "PBS_ARRAY_INDEX", "{}[].server"),
    "bsub": (r'#BSUB -J "\w+\[1-(\d+)\]"', "LSB_JOBINDEX", "Job <{}> is submitted to queue <normal>."),
}


def install(folder: Path) -> Path:
    """Write the programs, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("sbatch", "qsub", "bsub"):
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {name} {folder / "calls"} "$@"\n')
        path.chmod(0o755)
    container = folder / "apptainer"
    container.write_text(f'#!/bin/sh\necho apptainer "$@" >> {folder / "calls"}\n')
    container.chmod(0o755)
    return folder


def main(name: str, calls: str, *argv: str) -> int:
    """Submit a script, as the batch system would, and run it."""
    text = sys.stdin.read() if name == "bsub" else Path(argv[-1]).read_text()
    if name == "qsub":
        name = "sge" if "#$ -N" in text else "pbs"
    pattern, variable, answer = ARRAYS[name]
    with Path(calls).open("a") as log:
        log.write(f"{name} {' '.join(argv)}\n")
    found = re.search(pattern, text)
    number = len(Path(calls).read_text().splitlines())
    print(answer.format(number), flush=True)
    for task in range(1, int(found[1]) + 1) if found else [None]:
        env = dict(os.environ) | ({variable: str(task)} if task else {})
        subprocess.run(["bash", "-c", text], env=env, check=True, stdout=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
