"""The folder of a job for a workflow engine: the tasks as scripts, and the files that the engine reads."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from ....models.errors import UsageError
from ....models.io import atomic
from ... import __version__
from ...config.batch import ENGINE, System
from ..scripts import GROUP, OPTIONS, Writer

FILES = Path(__file__).parent
"""Folder with a folder of files for each engine."""

BABS = "babs"
REQUEST, SUBMIT = "request.json", "submit.sh"
GIVEN = ("tasks", "cpus", "memory_mib", "minutes", "gpus", "version", "group")
"""What the request has for Snakemake and Nextflow."""


class EngineWriter(Writer):
    """Writes the files of a job for Snakemake, Nextflow or BABS.

    Parameters
    ----------
    settings : Settings
        Settings of the run; ``write_job`` is the engine.
    folder : Path
        Where the files are written.
    image : Path or None
        The container image.
    needs : Request
        Resources of each task.
    """

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return str(self.settings.write_job)

    def _system(self) -> System:
        return ENGINE

    def write(self, tasks: Sequence[Sequence[str]]) -> None:
        """Write list, settings, scripts and the files of the engine.

        Parameters
        ----------
        tasks : sequence of sequence of str
            The labels of each task.
        """
        self._lists(tasks)
        if self.engine == BABS:
            rows = [f"sub-{label}\n" for task in tasks for label in task]
            atomic.write_text(self.folder / "participants.csv", "".join(["sub_id\n", *rows]))
        else:
            self._script("task.sh", self._array(0, len(tasks), len(tasks)), self.needs, 0)
            self._script("group.sh", self._group(), GROUP, 0)
            values = {"tasks": len(tasks)} | self._values()
            request = {name: values[name] for name in GIVEN}
            atomic.write_text(self.folder / REQUEST, json.dumps(request, indent=2) + "\n")
        for path in sorted((FILES / self.engine).iterdir()):
            text = path.read_text(encoding="utf-8")
            if self.engine == BABS:
                text = jinja2.Template(text, trim_blocks=True, keep_trailing_newline=True).render(
                    self._values()
                )
            self._write(path.name, text, program=path.name == SUBMIT)

    def hints(self) -> list[str]:
        """Return lines on how the job is started."""
        submit = shlex.quote(str(self.folder / SUBMIT))
        run = f"Run all, the group level last: bash {submit}"
        how = {
            "snakemake": f"{run} --cores 8 (or --executor slurm --jobs 100)",
            "nextflow": f"{run} -profile slurm",
            BABS: f"Make the project of BABS: bash {submit} CONTAINERS PROJECT",
        }
        lines = [how[self.engine]]
        if self.engine == BABS and not (self.settings.bids_dir / ".datalad").is_dir():
            place = shlex.quote(str(self.settings.bids_dir))
            lines.append(
                f"BABS takes DataLad datasets only, and this one is none: datalad create --force {place}"
                f" && datalad save -d {place}"
            )
        return lines

    def _values(self) -> dict[str, Any]:
        """Return what the files of the engine are filled in with."""
        needs = self.needs
        group = {name: getattr(GROUP, name) for name in ("cpus", "memory_mib", "minutes")}
        binds = [f"-B {shlex.quote(f'{path}:{path}')}" for path in self._more_folders(output=False)]
        nv = ["--nv"] if needs.gpus else []
        return dataclasses.asdict(needs) | {
            "usable_mb": needs.usable_mb,
            "clock": needs.clock,
            "threads": self._threads(needs),
            "version": __version__,
            "group": group,
            "bids_dir": json.dumps(str(self.settings.bids_dir)),
            "options": json.dumps(str(self.folder / OPTIONS)),
            "singularity_args": [json.dumps(arg) for arg in ("--cleanenv", *nv, *binds)],
            "image": shlex.quote(str(self.image or "brainseg-bids.sif")),
            "container_name": f"brainseg-bids-{__version__}".replace(".", "-"),
        }


def check(engine: str, per_task: int) -> None:
    """Refuse what an engine cannot do.

    Parameters
    ----------
    engine : str
        Its name.
    per_task : int
        Participants of each task.

    Raises
    ------
    UsageError
        If BABS is to take several participants at once.
    """
    if engine == BABS and per_task != 1:
        raise UsageError(None, "BABS gives each job one participant", "Leave --per-task out")
