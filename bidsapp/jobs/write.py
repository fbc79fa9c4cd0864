"""``--write-job``: a folder with a frozen list of participants, and the scripts of their jobs."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...models.errors import FullDiskError, MissingFileError, UsageError
from ..config.batch import ENGINES
from ..config.settings import Settings
from ..execution import plan
from ..inputs.select import ParticipantSession
from ..status import claims, records
from ..status.failures import FULL
from . import request
from .engines import writer
from .engines.writer import EngineWriter
from .scripts import LIST, Writer

CONTAINERS = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
"""Variables that name the image in a container."""


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
    engine = settings.write_job in ENGINES
    if engine:
        writer.check(settings.write_job, settings.per_task)
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
    job = (EngineWriter if engine else Writer)(settings, _folder(settings), image, needs)
    job.write(each)
    _tell(job, len(labels), len(each))
    return 0


def _tell(job: Writer, people: int, tasks: int) -> None:
    """Print what was written."""
    settings, folder, needs = job.settings, job.folder, job.needs
    print(f"{people} participants in {tasks} tasks; {folder / LIST} lists them")
    why = f" ({needs.why})" if needs.why else ""
    cpus = f"{needs.cpus} CPU{'s' * (needs.cpus != 1)}"
    print(f"Each task: {cpus}, {needs.memory_mib / 1024:.1f} GiB{why}, {needs.minutes} min")
    for name in sorted(path.name for path in folder.iterdir() if path.name not in (LIST, "submit.sh")):
        print(f"  {folder / name}")
    for line in job.hints():
        print(line)
    print(f"See how far it is: brainseg-bids {shlex.quote(str(settings.output_dir))} status")


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
            if error.errno in FULL:
                raise FullDiskError(folder, reason, "Free disk space or give another folder") from None
            raise UsageError(
                folder, reason, "Give another output folder, or correct its permissions"
            ) from None
