"""The process from which workers are forked.

On Linux it is a copy of the main process, made when that has imported what workers need and before it has
threads, so that everything is imported once. Otherwise it is a new process, which imports it beside the main
one.
"""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any, NoReturn

from ...config.imports import resolve
from ...config.resources import shared_threads
from ...config.settings import Settings
from ...status import paths

PRELOAD = ["brainseg.bidsapp.execution.scheduler.shared_modules"]
"""Modules that this process imports."""

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

FEW = 100
"""Largest number of participants whose status files are looked at before the imports."""


def begin(settings: Settings) -> None:
    """Set the threads of the libraries, before these are imported, and start the process if it is a new one.

    Where nothing is left to do, the imports would be most of the time of the run: nothing happens then.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    """
    left = _left(settings)
    if left and settings.plugin != "linear" and "omp_nthreads" not in settings.given:
        most = settings.omp_nthreads
        settings = replace(settings, omp_nthreads=shared_threads(settings.nprocs, most, left, slots=left))
    if left and copies(settings):
        _set_threads(settings)
    elif left:
        start(settings)


def copy(settings: Settings) -> None:
    """Import what the workers need and copy this process, if :func:`begin` left that to do.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    """
    if copies(settings) and _left(settings):
        for name in PRELOAD:
            resolve(name)
        resource_tracker.ensure_running()  # a process of its own, which would be copied, too
        with _copying():
            forkserver.ensure_running()


def copies(settings: Settings) -> bool:
    """Return whether the process can be a copy of this one.

    A copy would have the locks that threads hold. With ``--reproducible`` the libraries of the workers have
    settings that those of this process do not have.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    """
    able = sys.platform == "linux" and threading.active_count() == 1
    return able and settings.plugin == "multiproc" and not settings.reproducible


@contextmanager
def _copying() -> Iterator[None]:
    """Let the module of multiprocessing copy this process where it starts a new one."""
    start, before = util.spawnv_passfds, _open_files()

    def fork(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        new = _open_files() - before - set(passfds)
        with warnings.catch_warnings():
            # A library's own threads do no harm: it ends them before the copy is made.
            warnings.simplefilter("ignore", DeprecationWarning)
            number = os.fork()
        if number == 0:
            _serve(passfds, new)
        return number

    util.spawnv_passfds = fork
    try:
        yield
    finally:
        util.spawnv_passfds = start


def _serve(files: Sequence[int], unused: set[int]) -> NoReturn:
    """Serve requests for workers in the copy, without the files that only the main process keeps.

    ``files`` are those of multiprocessing's own command: the socket of the requests, a pipe that ends with
    the main process, and in later versions of Python one with the key.
    """
    listener, alive, *key = files
    more: dict[str, Any] = {"authkey_r": key[0]} if key else {}
    try:
        for number in unused:
            os.close(number)
        forkserver.main(listener, alive, [], **more)
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


def _open_files() -> set[int]:
    """Return the numbers of the open files of this process."""
    folder = Path("/proc/self/fd")
    return {int(path.name) for path in list(folder.iterdir()) if os.path.lexists(path)}


def _left(settings: Settings) -> int:
    """Return the number of participants that are probably unfinished."""
    if "participant" not in settings.analysis_level or settings.reports_only or settings.boilerplate_only:
        return 0
    labels = settings.participant_label
    names = [f"sub-{label}" for label in labels] or [path.name for path in settings.bids_dir.glob("sub-*")]
    return len(names) if len(names) > FEW else sum(_unfinished(settings.output_dir, n) for n in names)


def _unfinished(out_dir: Path, participant: str) -> bool:
    """Return whether a participant has no status file, or one of an unfinished session."""
    found = paths.of_participant(out_dir, participant)
    try:
        return not found or any(json.loads(path.read_text()).get("state") != "done" for path in found)
    except (OSError, ValueError, AttributeError):
        return True


def start(settings: Settings) -> None:
    """Start the process, with the environment of its workers; nothing happens if it runs already.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    """
    _set_threads(settings)
    if settings.reproducible:
        os.environ.update(resolve("brainseg.bidsapp.execution.scheduler.reproducible:variables")())
    if settings.plugin == "multiproc":
        mp.set_forkserver_preload(PRELOAD)
        forkserver.ensure_running()


def _set_threads(settings: Settings) -> None:
    os.environ.update(dict.fromkeys(THREADS, str(settings.omp_nthreads)))
