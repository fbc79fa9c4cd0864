"""The process from which workers are forked; it imports their libraries beside the main process."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

from ...config.imports import resolve
from ...config.resources import shared_threads
from ...config.settings import Settings
from ...status import paths

PRELOAD = ["brainseg.bidsapp.execution.scheduler.shared_modules"]
"""Modules that this process imports."""

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

FEW = 100
"""Largest number of participants whose status files are looked at before the imports."""


def begin(settings: Settings) -> None:
    """Start the process before the main process imports anything, if a participant is probably unfinished.

    Where nothing is left to do, the imports would be most of the time of the run.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    """
    if "participant" not in settings.analysis_level or settings.reports_only or settings.boilerplate_only:
        return
    labels = settings.participant_label
    names = [f"sub-{label}" for label in labels] or [path.name for path in settings.bids_dir.glob("sub-*")]
    left = len(names) if len(names) > FEW else sum(_unfinished(settings.output_dir, n) for n in names)
    if left and "omp_nthreads" not in settings.given:
        most = settings.omp_nthreads
        settings = replace(settings, omp_nthreads=shared_threads(settings.nprocs, most, left, slots=left))
    if left:
        start(settings)


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
    os.environ.update(dict.fromkeys(THREADS, str(settings.omp_nthreads)))
    if settings.reproducible:
        os.environ.update(resolve("brainseg.bidsapp.execution.scheduler.reproducible:variables")())
    if settings.plugin == "multiproc":
        mp.set_forkserver_preload(PRELOAD)
        forkserver.ensure_running()
