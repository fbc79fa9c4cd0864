"""What a task asks the batch system for: CPUs, memory and time, from the measured need of its images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...workflows.common.resources import memory, voxels
from ..config import measured
from ..config.settings import Settings
from ..inputs.select import ParticipantSession

CPUS = 2
"""CPUs of a task by default."""

MARGIN = 1.15
"""Factor between the measured memory and the memory that is asked for."""

PATIENCE = 6.0
"""Factor between the measured time and the time limit: slower processors, shared disks."""

SHORTEST = 20
"""Shortest time limit (min)."""

GIB = 2**30 / 1e9


@dataclass(frozen=True)
class Request:
    """Resources of one task.

    Attributes
    ----------
    cpus : int
        CPUs.
    memory_mib : int
        Memory (MiB).
    minutes : int
        Time limit (min).
    gpus : int
        GPUs.
    why : str
        The image that decides on the memory, in words.
    """

    cpus: int
    memory_mib: int
    minutes: int
    gpus: int = 0
    why: str = ""

    @property
    def usable_mb(self) -> int:
        """Memory (MB) that the program plans with; the rest is for the page cache."""
        return int(self.memory_mib * 2**20 / 1e6 * 0.9)

    @property
    def clock(self) -> str:
        """The time limit as hours, minutes and seconds."""
        return f"{self.minutes // 60:02d}:{self.minutes % 60:02d}:00"


def seconds(settings: Settings, participant_session: ParticipantSession) -> float:
    """Return the time (s) that a participant-session takes on two CPUs.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    participant_session : ParticipantSession
        The participant-session.
    """
    known = measured.read()
    size = voxels(str(participant_session.image)) / known.voxels
    images = len(participant_session.averaged) + len(participant_session.other_contrasts)
    names = [name for name in ("lesion", "hippocampus") if settings.step(name)]
    names += [settings.registration, settings.effort]
    more = known.more_seconds
    whole = known.image_seconds + sum(more.get(name, 0.0) for name in names)
    whole += more["image"] * images + more["space"] * max(0, len(settings.output_spaces) - 1)
    return known.start_seconds + whole * size


def of(settings: Settings, tasks: Sequence[Sequence[ParticipantSession]]) -> Request:
    """Return what every task asks for: enough for the largest.

    Parameters
    ----------
    settings : Settings
        Settings of the run; CPUs and memory that the user gave are kept.
    tasks : sequence of sequence of ParticipantSession
        The participant-sessions of each task.
    """
    known = measured.read()
    cpus = settings.nprocs if "nprocs" in settings.given else CPUS
    threads = min(settings.omp_nthreads if "omp_nthreads" in settings.given else cpus, cpus)
    usable = [[ps for ps in task if ps.problem is None and ps.image] for task in tasks]
    at_once = max(1, min(cpus // threads, max((len(task) for task in usable), default=1)))
    images = {ps.image for task in usable for ps in task if ps.image}
    needs = {path: max(memory(str(path)).values()) for path in images}
    largest = max(needs, key=lambda path: needs[path], default=None)
    step = needs[largest] if largest else 2.0
    mib = 512 * math.ceil((known.base_gb + at_once * step) * MARGIN / GIB * 2)
    if "mem" in settings.given:
        mib = math.ceil(settings.mem_gb / GIB * 1024)
    longest = max((sum(seconds(settings, ps) for ps in task) for task in usable), default=0.0)
    minutes = max(SHORTEST, PATIENCE * (known.start_seconds + longest * known.cores / min(cpus, 8)) / 60)
    on_gpu = settings.device.startswith("cuda") or bool("n_gpus" in settings.given and settings.n_gpus)
    return Request(
        cpus=cpus,
        memory_mib=mib,
        minutes=5 * math.ceil(minutes / 5),
        gpus=(settings.n_gpus or 1) if on_gpu else 0,
        why=f"{Path(largest).name} needs {known.base_gb + step:.1f} GB" if largest else "",
    )
