"""Temporary files of a run: in one folder, which carries the user and the job and is removed at the end.

What a killed run left is removed by the next run of the same user on that machine.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import util
from pathlib import Path
from typing import IO

from ..config import environment

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"

PROCESSES = "pymp-"
"""Beginning of the name of multiprocessing's own folder, which it removes when the process ends."""

AFTER_ALL = -1000
"""Priority of a finalizer that follows those of multiprocessing."""

YOUNG = 600.0
"""Age (s) below which a folder without a lock may belong to a run that starts."""

LONGEST = 50
"""Length of a path of temporary files above which sockets in a folder below it would have too long names."""


@contextmanager
def scratch(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Put the temporary files of this process and its children into one folder, and remove it afterwards.

    Parameters
    ----------
    environ : mapping of str to str
        Environment variables, with the number of the job.
    """
    base = Path(tempfile.gettempdir())
    if fcntl is None or len(str(base)) > LONGEST:
        yield
        return
    sweep(base)
    before = {name: os.environ.get(name) for name in ("TMPDIR",)}, tempfile.tempdir
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_stem()}{job(environ)}-", dir=base))
        lock = (folder / LOCK).open("w")
        _locked(lock)
    except OSError:  # a full or unwritable folder is met, and explained, where it is needed
        yield
        return
    try:
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        yield
    finally:
        tempfile.tempdir = before[1]
        for name, value in before[0].items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        _remove(folder, lock)


def _remove(folder: Path, lock: IO[str]) -> None:
    """Remove the folder of a run; multiprocessing's part of it goes when the process ends."""
    for path in folder.iterdir():
        if path.name.startswith(PROCESSES) or path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
    if any(path.name.startswith(PROCESSES) for path in folder.iterdir()):
        util.Finalize(None, _end, args=(folder, lock), exitpriority=AFTER_ALL)
    else:
        _end(folder, lock)


def _end(folder: Path, lock: IO[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


def sweep(base: Path) -> None:
    """Remove the folders of this user's runs that have ended without removing them.

    Parameters
    ----------
    base : Path
        Folder for temporary files.
    """
    for folder in base.glob(f"{_stem()}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            if not (folder / LOCK).exists():
                if re.fullmatch(r".*-\w{8}", folder.name) and time.time() - folder.stat().st_mtime > YOUNG:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            with (folder / LOCK).open("r+") as lock:
                if _locked(lock):
                    shutil.rmtree(folder, ignore_errors=True)


def job(environ: Mapping[str, str] = os.environ) -> str:
    """Return the number of the job, or of the process where there is none.

    Examples
    --------
    >>> job({"SLURM_JOB_ID": "77"}), job({"PBS_JOBID": "12[3].server"})
    ('77', '123')
    """
    found = next((environ[name] for name in environment.JOBS if environ.get(name)), str(os.getpid()))
    return re.sub(r"\W", "", found.partition(".")[0])[:16]


def _stem() -> str:
    return f"brainseg-run-{os.getuid()}-"


def _locked(handle: IO[str]) -> bool:
    """Lock a file; return whether no living process had it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
