"""The scripts of a job: what they ask for, what they run, and what submits them."""

from __future__ import annotations

import shlex
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from ...models.io import atomic
from .. import __version__
from ..config import atlases, batch
from ..config.batch import SYSTEMS, System
from ..config.settings import Settings, to_toml
from .request import Request

NAME = "brainseg"
LIST = "participants.txt"
"""Name of the list: one line for each task, the labels of its participants."""

OPTIONS = "options.toml"
"""Name of the file with the options of the user."""

NOT_CARRIED = {
    *("bids_dir", "output_dir", "analysis_level", "participant_label", "config_file", "notes"),
    *("group_by", "no_pages"),
    *("nprocs", "omp_nthreads", "mem", "work_dir", "resume_failed", "dry_run"),
    *("write_job", "image", "per_task", "max_array", "only_failed"),
}
"""Options that the scripts set themselves, or that are not for the tasks."""

GROUP = Request(cpus=2, memory_mib=4096, minutes=60)
"""What the group level asks for."""


def program() -> list[str]:
    """Return the command of this installation."""
    return [sys.executable, "-m", "brainseg.bidsapp"]


class Writer:
    """Writes the files of a job.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    folder : Path
        Where the files are written.
    image : Path or None
        The container image.
    needs : Request
        Resources of each task.
    """

    def __init__(self, settings: Settings, folder: Path, image: Path | None, needs: Request) -> None:
        self.settings, self.folder, self.image, self.needs = settings, folder, image, needs
        self.system = self._system()

    def _system(self) -> System:
        return SYSTEMS[str(self.settings.write_job)]

    def write(self, tasks: Sequence[Sequence[str]]) -> None:
        """Write list, settings and scripts.

        Parameters
        ----------
        tasks : sequence of sequence of str
            The labels of each task.
        """
        self._lists(tasks)
        most = self.settings.max_array or batch.largest_index()
        names = []
        for number, first in enumerate(range(0, len(tasks), most), 1):
            names.append(f"array-{number:03d}.sh")
            count = min(most, len(tasks) - first)
            self._script(names[-1], self._array(first, count, len(tasks)), self.needs, count)
        self._script("group.sh", self._group(), GROUP, 0)
        self._script("submit.sh", self._submit(names), None, 0)

    def hints(self) -> list[str]:
        """Return lines on how the job is submitted."""
        return [f"Submit all, the group level last: bash {shlex.quote(str(self.folder / 'submit.sh'))}"]

    def _lists(self, tasks: Sequence[Sequence[str]]) -> None:
        """Write the list of participants and the options."""
        atomic.write_text(self.folder / LIST, "".join(" ".join(task) + "\n" for task in tasks))
        atomic.write_text(self.folder / OPTIONS, self._options())

    def _options(self) -> str:
        """Return the options that the user gave, for the tasks."""
        kept = set(self.settings.given) - NOT_CARRIED
        lines = to_toml(self.settings).splitlines()
        head = f"# Options of the tasks, frozen by brainseg-bids {__version__} --write-job"
        return "\n".join([head, *(line for line in lines if line.partition(" = ")[0] in kept)]) + "\n"

    def _script(self, name: str, body: list[str], needs: Request | None, count: int) -> None:
        head = ["#!/bin/bash"]
        if needs is not None:
            facts = {
                "name": NAME if count else f"{NAME}-group",
                "cpus": needs.cpus,
                "memory_mib": needs.memory_mib,
                "memory_per_cpu_mib": -(-needs.memory_mib // needs.cpus),
                "clock": needs.clock,
                "hours_minutes": needs.clock[:-3],
                "gpus": needs.gpus,
                "gpu_chunk": f":ngpus={needs.gpus}" if needs.gpus else "",
                "logs": self.folder,
                "job_log": "%A_%a" if count else "%j",
                "count": count,
            }
            lines = [*self.system.directives]
            # One task is no array for PBS.
            if count > 1 or (count and self.settings.write_job != "pbs"):
                lines.append(self.system.array)
            if needs.gpus and self.system.gpu:
                lines.append(self.system.gpu)
            head += [line.format(**facts) for line in lines]
        self._write(name, "\n".join([*head, "set -euo pipefail", *body]) + "\n", program=True)

    def _write(self, name: str, text: str, *, program: bool) -> None:
        """Write a file, or a program."""
        path = self.folder / name
        atomic.write_text(path, text)
        if program:
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP)

    def _array(self, first: int, count: int, total: int) -> list[str]:
        """Return the lines of one array: the tasks that follow a number of tasks of other arrays."""
        index = self.system.index
        listed = shlex.quote(str(self.folder / LIST))
        return [
            f"task={index}",
            f"line=$(({first} + task))",
            f'if [ "$task" -lt 1 ] || [ "$task" -gt {count} ] || [ "$line" -gt {total} ]; then',
            f'    echo "task $task: this array has the tasks 1 to {count}" >&2',
            "    exit 2",
            "fi",
            f'read -r -a labels <<< "$(sed -n "${{line}}p" {listed})"',
            *self._work(),
            self._command(self.needs, "participant", work=True) + ' --participant-label "${labels[@]}"',
        ]

    def _group(self) -> list[str]:
        return [*self._work(), self._command(GROUP, "group", work=False)]

    def _work(self) -> list[str]:
        """Return the line that sets the work folder: the user's, or one on a disk of the node."""
        if "work_dir" in self.settings.given:
            return [f"work={shlex.quote(str(self.settings.work_dir))}"]
        return ['work="${TMPDIR:-/tmp}"']

    def _command(self, needs: Request, level: str, *, work: bool) -> str:
        settings, folder = self.settings, self.folder
        words = [str(settings.bids_dir), str(settings.output_dir), level]
        if level == "participant":
            words += ["--config-file", str(folder / OPTIONS), "--skip-bids-validation"]
        else:
            words += ["--group-by", settings.group_by] if settings.group_by else []
            words += ["--no-pages"] if settings.no_pages else []
        words += ["--nprocs", str(needs.cpus), "--mem", f"{needs.usable_mb}M"]
        words += ["--omp-nthreads", str(self._threads(needs))]
        if work:
            own = "work_dir" in settings.given
            tail = ' --work-dir "$work"' if own else ' --work-dir "$work/brainseg"'
        else:
            tail = ""
        return f"exec {self._program(needs)} {shlex.join(words)}{tail}"

    def _threads(self, needs: Request) -> int:
        """Return the threads of each step."""
        given = "omp_nthreads" in self.settings.given
        return min(self.settings.omp_nthreads, needs.cpus) if given else needs.cpus

    def _program(self, needs: Request) -> str:
        """Return the program, in its container if there is one; the folders have the same names in it."""
        if self.image is None:
            return shlex.join(program())
        binds = [f"{self.settings.bids_dir}:{self.settings.bids_dir}:ro"]
        binds += [f"{path}:{path}" for path in self._more_folders()]
        words = ["run", "--cleanenv", *(["--nv"] if needs.gpus else [])]
        words += [word for bind in binds for word in ("--bind", bind)]
        env = " ".join(f'--env {name}="${{{name}:-}}"' for name in self.system.job)
        runtime = '"$(command -v apptainer || command -v singularity)"'
        return f'{runtime} {shlex.join(words)} --bind "$work:$work" {env} {shlex.quote(str(self.image))}'

    def _more_folders(self, *, output: bool = True) -> list[Path]:
        """Return further folders that the tasks read or write, none within another one."""
        settings = self.settings
        files = (settings.bids_filter_file, settings.nipype_plugin_file)
        folders = [*([settings.output_dir] if output else []), *settings.precomputed.values()]
        folders += [Path(name).parent for name in settings.networks.values() if Path(name).is_absolute()]
        folders += atlases.folders(settings.atlases, settings.map_paths.values())
        folders += [path.parent for path in files if path] + [p for p in [settings.bids_database_dir] if p]
        for text in settings.output_spaces:
            path = Path(text.partition("=")[2])
            if path.name and path.exists():
                folders.append(path.resolve() if path.is_dir() else path.resolve().parent)
        places = sorted({path.resolve() for path in folders} - {settings.bids_dir})
        return [path for path in places if not any(other in path.parents for other in places)]

    def _submit(self, names: Sequence[str]) -> list[str]:
        """Return the lines that submit the arrays, and the group level after them."""
        return [
            "# Further arguments are options of the batch system, for all jobs.",
            "ids=()",
            f"for name in {' '.join(names)}; do",
            f"    script={shlex.quote(str(self.folder))}/$name",
            f"    {self.system.submit}",
            '    ids+=("$id")',
            "done",
            f"script={shlex.quote(str(self.folder))}/group.sh",
            self.system.after,
            'echo "submitted: ${ids[*]}, and the group level after them"',
        ]
