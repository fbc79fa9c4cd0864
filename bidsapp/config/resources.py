"""CPUs and memory available to this process: hardware, CPU affinity, control groups and the batch system."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...models.errors import UsageError

CGROUP = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")

SHARE = 0.9
"""Fraction of the memory that a run uses by default; the rest is for the main process and the page cache."""

LEAST_MB = 256
"""Smallest amount of memory (MB) that is plausible without a unit."""

UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def cpus(environ: Mapping[str, str] = os.environ, root: Path = CGROUP, groups: Path = OWN_GROUPS) -> int:
    """Return the number of CPUs available to this process.

    Parameters
    ----------
    environ : mapping of str to str
        Environment variables, with the limits of Slurm, SGE, PBS or LSF.
    root : Path
        Root of the control groups.
    groups : Path
        File that lists the control groups of this process.

    Returns
    -------
    int
        At least 1.
    """
    limits = [float(_affinity()), *_of_job(environ)]
    for folder in _folders("cpu", root, groups):
        words = _read(folder / "cpu.max").split()
        quota, period = (
            (words + ["", ""])[:2]
            if words
            else (
                _read(folder / "cpu.cfs_quota_us"),
                _read(folder / "cpu.cfs_period_us"),
            )
        )
        if quota.isdigit() and period.isdigit() and int(period):
            limits.append(int(quota) / int(period))
    return max(1, int(min(limits)))


def threads(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return the threads of one step that ``OMP_NUM_THREADS`` asks for; None if it asks for none.

    Examples
    --------
    >>> threads({"OMP_NUM_THREADS": "4"}), threads({"OMP_NUM_THREADS": "4,2"}), threads({})
    (4, 4, None)
    """
    text = environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(text) if text.isdigit() and int(text) else None


def step_threads(
    values: Mapping[str, Any], environ: Mapping[str, str], most: int
) -> tuple[int, tuple[str, ...]]:
    """Return the largest number of threads of one step, and notes on it.

    Parameters
    ----------
    values : mapping
        Settings by name, with ``nprocs``.
    environ : mapping of str to str
        Environment variables.
    most : int
        Largest number that is not given.

    Examples
    --------
    >>> step_threads({"nprocs": 2, "omp_nthreads": 8}, {}, most=8)
    (2, ('--omp-nthreads 8 is reduced to 2, the number of CPUs (--nprocs)',))
    """
    nprocs, given = values["nprocs"], values.get("omp_nthreads")
    if given is not None:
        note = f"--omp-nthreads {given} is reduced to {nprocs}, the number of CPUs (--nprocs)"
        return min(given, nprocs), (note,) if given > nprocs else ()
    asked, able = threads(environ), min(nprocs, most)
    if asked and asked < able:
        return asked, (f"OMP_NUM_THREADS={asked}: at most {asked} CPU{'s' * (asked != 1)} per step",)
    return able, ()


def shared_threads(processors: int, most: int, number: int, slots: int) -> int:
    """Return the threads of one step, so that as many participants as possible are processed at once.

    Two participants with one thread each take less time than one after the other with two threads: a step
    gains little from more threads.

    Parameters
    ----------
    processors : int
        CPUs of the run.
    most : int
        Largest number of threads.
    number : int
        Participant-sessions to process.
    slots : int
        Participant-sessions for which the memory suffices.

    Examples
    --------
    >>> shared_threads(8, 8, number=1, slots=10), shared_threads(8, 8, number=3, slots=10)
    (8, 2)
    >>> shared_threads(8, 8, number=100, slots=10), shared_threads(8, 8, number=100, slots=3)
    (1, 2)
    """
    at_once = max(1, min(processors, number, slots))
    return min(most, max(1, processors // at_once))


def memory_gb(
    environ: Mapping[str, str] = os.environ, root: Path = CGROUP, groups: Path = OWN_GROUPS
) -> float:
    """Return the memory available to this process.

    Parameters
    ----------
    environ : mapping of str to str
        Environment variables, with the limits of Slurm.
    root : Path
        Root of the control groups.
    groups : Path
        File that lists the control groups of this process.

    Returns
    -------
    float
        In GB (1e9 bytes).
    """
    limits = [float(_physical())]
    if "SLURM_JOB_ID" in environ:
        node = _numbers(environ, "SLURM_MEM_PER_NODE")
        each = _numbers(environ, "SLURM_MEM_PER_CPU")
        count = _numbers(environ, "SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK")
        gpu = _numbers(environ, "SLURM_MEM_PER_GPU")
        gpus = _numbers(environ, "SLURM_GPUS_ON_NODE", "SLURM_GPUS")
        products = [*zip(each, count, strict=False), *zip(gpu, gpus, strict=False)]
        # Slurm's megabytes are 2**20 bytes.
        limits += [m * 2**20 for m in node] or [m * n * 2**20 for m, n in products]
    for folder in _folders("memory", root, groups):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdigit():
                limits.append(float(text))
    return min(limits) / 1e9


def parse_memory(text: str) -> float:
    """Return an amount of memory in GB (1e9 bytes).

    Parameters
    ----------
    text : str
        A positive number with its unit, such as ``8G`` or ``512MiB``; a number alone is in MB, as in
        fMRIPrep.

    Returns
    -------
    float
        In GB.

    Raises
    ------
    UsageError
        If the text is not a positive number, or too small without a unit.

    Examples
    --------
    >>> parse_memory("8G"), parse_memory("8000M"), parse_memory("7.5 gb"), parse_memory("8000")
    (8.0, 8.0, 7.5, 8.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT]I?)B?)?\s*", text.upper())
    if not found or not float(found[1]):
        raise UsageError(
            None,
            f"invalid amount of memory: --mem {text}",
            "Give a number with its unit, such as 8G or 8000M",
        )
    if not found[2] and float(found[1]) < LEAST_MB:
        remedy = f"Give the unit, such as {found[1]}G"
        raise UsageError(None, f"--mem {text}: a number alone is in MB, and {text} MB are too few", remedy)
    return float(found[1]) * UNITS[found[2] or "M"] / 1e9


def _of_job(environ: Mapping[str, str]) -> list[float]:
    """Return the number of CPUs on this computer that the batch system gave to the job; empty if unknown."""
    if "SLURM_JOB_ID" in environ:
        return _numbers(environ, "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")[:1]
    if "PBS_JOBID" in environ:
        hosts = _read(Path(environ.get("PBS_NODEFILE") or os.devnull)).split()
        # One line for each CPU, or one for each host with the number in NCPUS.
        here = float(sum(host.partition(".")[0] == _host() for host in hosts))
        found = [number for number in (here, *_numbers(environ, "NCPUS", "PBS_NUM_PPN")) if number]
        return [max(found)] if found else []
    if "LSB_JOBID" in environ:
        words = environ.get("LSB_MCPU_HOSTS", "").split()
        pairs = dict(zip(words[::2], words[1::2], strict=False))
        own = [float(n) for host, n in pairs.items() if host.partition(".")[0] == _host() and n.isdigit()]
        return own or _numbers(environ, "LSB_DJOB_NUMPROC")
    if "JOB_ID" in environ:
        return _numbers(environ, "NSLOTS")
    return []


def _host() -> str:
    return platform.node().partition(".")[0]


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _physical() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _numbers(environ: Mapping[str, str], *names: str) -> list[float]:
    """Return the positive integers in these variables, in order."""
    texts = [environ.get(name, "") for name in names]
    return [float(text) for text in texts if text.isdigit() and int(text)]


def _folders(controller: str, root: Path, groups: Path) -> Iterator[Path]:
    """Yield the folders of this process's control groups (version 1 or 2) and their parents."""
    yield root
    yield root / controller
    for line in _read(groups).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or controller in controllers.split(","):
            folder = (root if number == "0" else root / controller) / path.strip("/")
            while folder not in (root, root / controller, folder.parent):
                yield folder
                folder = folder.parent


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
