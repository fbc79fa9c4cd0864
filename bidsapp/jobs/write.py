"""``--write-job``: the scripts of a job array, a frozen list of participants, and what submits them."""

from __future__ import annotations

import os
import shlex
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...models.errors import MissingFileError, UsageError
from ...models.io import atomic
from .. import __version__
from ..config import batch
from ..config.batch import SYSTEMS, System
from ..config.settings import Settings, to_toml
from ..execution import plan
from ..inputs.select import ParticipantSession
from ..status import claims, records
from . import request
from .request import Request

NAME = "brainseg"
LIST = "participants.txt"
"""Name of the list: one line for each task, the labels of its participants."""

NOT_CARRIED = {
    *("bids_dir", "output_dir", "analysis_level", "participant_label", "group_by", "config_file", "notes"),
    *("nprocs", "omp_nthreads", "mem", "work_dir", "resume_failed", "dry_run"),
    *("write_job", "image", "per_task", "max_array", "only_failed"),
}
"""Options that the scripts set themselves, or that are not for the tasks."""

CONTAINERS = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
"""Variables that name the image in a container."""

GROUP = Request(cpus=2, memory_mib=4096, minutes=60)
"""What the group level asks for."""


def show(settings: Settings, argv: list[str], environ: Mapping[str, str] = os.environ) -> int:
    """Write the scripts, say how they are submitted, and return the exit code.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    argv : list of str
        Ignored; :func:`brainseg.bidsapp.execution.run.run` takes the same parameters.
    environ : mapping of str to str
        Environment variables, which name the image in a container.

    Raises
    ------
    BrainsegError
        If the settings or the dataset cannot be used.
    """
    assert settings.write_job is not None
    if "participant" not in settings.analysis_level:
        reason = "--write-job is for the level participant"
        raise UsageError(None, reason, "Give it; a job for the level group is written too")
    image = _image(settings, environ)
    selected = plan.selection(settings).participant_sessions
    to_do, left_out = _to_do(settings, selected)
    for line in left_out:
        print(line)
    if not to_do:
        print("Nothing is left to do: no job was written")
        return 0
    labels = list(dict.fromkeys(ps.participant for ps in to_do))
    each = [labels[k : k + settings.per_task] for k in range(0, len(labels), settings.per_task)]
    needs = request.of(settings, [[ps for ps in to_do if ps.participant in set(task)] for task in each])
    folder = _folder(settings)
    Writer(settings, folder, image, needs).write(each)
    _tell(settings, folder, len(labels), len(each), needs)
    return 0


def _tell(settings: Settings, folder: Path, people: int, tasks: int, needs: Request) -> None:
    """Print what was written."""
    print(f"{people} participants in {tasks} tasks; {folder / LIST} lists them")
    why = f" ({needs.why})" if needs.why else ""
    print(f"Each task: {needs.cpus} CPUs, {needs.memory_mib / 1024:.1f} GiB{why}, {needs.minutes} min")
    for name in sorted(path.name for path in folder.glob("*.sh") if path.name != "submit.sh"):
        print(f"  {folder / name}")
    print(f"Submit all, the group level last: bash {shlex.quote(str(folder / 'submit.sh'))}")
    print(f"See how far it is: brainseg-bids {shlex.quote(str(settings.output_dir))} status")


def program() -> list[str]:
    """Return the command of this installation."""
    return [sys.executable, "-m", "brainseg.bidsapp"]


def _image(settings: Settings, environ: Mapping[str, str]) -> Path | None:
    """Return the container image: the given one, or that of this process."""
    given = settings.image or next((environ[name] for name in CONTAINERS if environ.get(name)), None)
    if given is None:
        return None
    path = Path(given).expanduser().resolve()
    if settings.image and not path.exists():
        raise MissingFileError(
            path, "there is no such image", "Build it: apptainer build IMAGE apptainer.def"
        )
    return path


def _to_do(
    settings: Settings, selected: Sequence[ParticipantSession]
) -> tuple[list[ParticipantSession], list[str]]:
    """Return the participant-sessions that are left to do, and lines on the others."""
    out, to_do = settings.output_dir, []
    counts = {"done": 0, "being processed by other processes": 0, "not failed (--only-failed)": 0}
    for ps in selected:
        if settings.resume and records.finished(out, ps, settings.that_matter) == "yes":
            counts["done"] += 1
        elif claims.holder(out, ps.key) is not None:
            counts["being processed by other processes"] += 1
        elif settings.only_failed and records.read(out, ps.key).get("state") not in ("failed", "running"):
            counts["not failed (--only-failed)"] += 1
        else:
            to_do.append(ps)
    return to_do, [f"{count} left out: {why}" for why, count in counts.items() if count]


def _folder(settings: Settings) -> Path:
    """Return a new folder for the scripts."""
    folder = settings.output_dir / "logs" / "jobs" / time.strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = folder.with_name(f"{folder.name.partition('_')[0]}_{number}")
        except OSError as error:
            reason = f"the folder for the job cannot be made ({error.strerror})"
            raise UsageError(
                folder, reason, "Give another output folder, or correct its permissions"
            ) from None


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
        self.system: System = SYSTEMS[str(settings.write_job)]

    def write(self, tasks: Sequence[Sequence[str]]) -> None:
        """Write list, settings and scripts.

        Parameters
        ----------
        tasks : sequence of sequence of str
            The labels of each task.
        """
        atomic.write_text(self.folder / LIST, "".join(" ".join(task) + "\n" for task in tasks))
        atomic.write_text(self.folder / "options.toml", self._options())
        most = self.settings.max_array or batch.largest_index()
        names = []
        for number, first in enumerate(range(0, len(tasks), most), 1):
            names.append(f"array-{number:03d}.sh")
            count = min(most, len(tasks) - first)
            self._script(names[-1], self._array(first, count, len(tasks)), self.needs, count)
        self._script("group.sh", self._group(), GROUP, 0)
        self._script("submit.sh", self._submit(names), None, 0)

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
        path = self.folder / name
        atomic.write_text(path, "\n".join([*head, "set -euo pipefail", *body]) + "\n")
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
            words += ["--config-file", str(folder / "options.toml"), "--skip-bids-validation"]
        elif settings.group_by:
            words += ["--group-by", settings.group_by]
        words += ["--nprocs", str(needs.cpus), "--mem", f"{needs.usable_mb}M"]
        threads = settings.omp_nthreads if "omp_nthreads" in settings.given else needs.cpus
        words += ["--omp-nthreads", str(min(threads, needs.cpus))]
        if work:
            own = "work_dir" in settings.given
            tail = ' --work-dir "$work"' if own else ' --work-dir "$work/brainseg"'
        else:
            tail = ""
        return f"exec {self._program(needs)} {shlex.join(words)}{tail}"

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

    def _more_folders(self) -> list[Path]:
        """Return further folders that the tasks read or write, none within another one."""
        settings = self.settings
        files = (settings.bids_filter_file, settings.nipype_plugin_file)
        folders = [settings.output_dir, *settings.precomputed.values()]
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
