"""The participants' pages, written again with their ranks, in several processes."""

from __future__ import annotations

import multiprocessing as mp
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from ....models.errors import ReportError
from .. import derivatives
from ..cohort import Cohort
from ..derivatives import Result
from ..participant import write_page
from ..sections import quality

CHUNK = 64
"""Pages that a process writes at once."""

ENOUGH = 256
"""Pages from which more processes save time; each imports its libraries first."""

_cohort = Cohort({})
"""The cohort of a worker process."""


def write(out_dir: Path, results: list[Result], cohort: Cohort, processes: int = 1) -> None:
    """Write the participants' pages again; raise the first failure at the end.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    results : list of Result
        The participant-sessions; those without status and derivatives have no page.
    cohort : Cohort
        Volumes of all participant-sessions.
    processes : int
        Processes that write.

    Raises
    ------
    ReportError
        If a page could not be written; the others are.
    """
    there = [result for result in results if result.state != "missing"]
    failed = [text for text in _written(out_dir, [result.key for result in there], cohort, processes) if text]
    quality.write_list(out_dir)
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        reason = f"the report could not be written ({failed[0]}{more})"
        raise ReportError(out_dir, reason, "Check free space and permissions, then run the group level again")


def _written(out_dir: Path, keys: list[str], cohort: Cohort, processes: int) -> Iterator[str]:
    """Write pages; yield for each what went wrong, empty if nothing did."""
    if processes < 2 or len(keys) < ENOUGH:
        for key in keys:
            yield _page(out_dir, key, cohort)
        return
    chunks = [keys[first : first + CHUNK] for first in range(0, len(keys), CHUNK)]
    context = mp.get_context("forkserver")
    with ProcessPoolExecutor(min(processes, len(chunks)), context, _keep, (cohort.volumes,)) as pool:
        for texts in pool.map(_pages, [out_dir] * len(chunks), chunks):
            yield from texts


def _keep(volumes: dict[str, dict[str, float]]) -> None:
    """Keep the cohort for all pages of this process."""
    global _cohort
    _cohort = Cohort(volumes)


def _pages(out_dir: Path, keys: list[str]) -> list[str]:
    return [_page(out_dir, key, _cohort) for key in keys]


def _page(out_dir: Path, key: str, cohort: Cohort) -> str:
    """Write a page; return what went wrong."""
    try:
        write_page(derivatives.load(out_dir, key), cohort)
    except OSError as error:
        return f"{key}: {error.strerror or error}"
    return ""
