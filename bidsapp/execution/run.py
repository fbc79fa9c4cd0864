"""A run: the analysis levels in order, its log, and the exit code."""

from __future__ import annotations

import logging
import platform
import shlex
import sys
from contextlib import suppress
from typing import Any

from ...interfaces.io import files
from ...models.errors import BrainsegError, FullDiskError, ReportError
from .. import __version__
from ..config.imports import resolve
from ..config.settings import Settings, to_toml
from ..ratings import files as ratings
from ..reports import derivatives
from ..reports.sections import study_columns
from ..status import failures, records
from . import directories, participants_tsv, plan, progress
from .context import BUSY, OK, REPORT_FAILED, Run
from .progress import Progress
from .scheduler import logs, server
from .scheduler.signals import stopping
from .tracker import Tracker

LOG = logging.getLogger("brainseg")
INTERNAL = 70
"""Exit code of an error in the program itself."""

PROCESS = "brainseg.bidsapp.execution.participant_level:process"
GROUP = "brainseg.bidsapp.reports.group:run_group"
"""Functions of the levels, which import Nipype, PyTorch and matplotlib."""


def run(settings: Settings, argv: list[str]) -> int:
    """Run the analysis levels of the settings and return the exit code.

    Parameters
    ----------
    settings : Settings
        Settings of the run; for ``dry_run`` see :func:`brainseg.bidsapp.execution.plan.show`.
    argv : list of str
        The command line, which is stored with the settings.

    Returns
    -------
    int
        0 if everything succeeded; see ``brainseg-bids --help`` for the others.

    Raises
    ------
    BrainsegError
        If the settings or the dataset cannot be used.
    """
    selection = plan.selection(settings)
    folders = directories.prepare(settings)
    server.copy(settings)
    plain = bool(settings.verbose or settings.debug or settings.plugin == "linear")
    shown = progress.choose(len(selection.participant_sessions), plain=plain)
    tracker = Tracker(folders.out, folders.run, shown, settings.that_matter, folders.work, settings.mem_gb)
    context = Run(settings, selection, folders, shown, tracker)
    with logs.of_run(folders.log, settings.verbose, plain=type(shown) is Progress), stopping():
        files.write_text(folders.log / "brainseg.toml", to_toml(settings, _record(argv)))
        shown.say(f"brainseg-bids {__version__}  {settings.bids_dir} -> {folders.out}")
        for line in (f"Log and settings of this run: {folders.log}", *settings.notes, *folders.notes):
            shown.say(line)
        try:
            return _levels(context)
        except BrainsegError as error:
            LOG.debug("%s", error)
            raise
        except KeyboardInterrupt:
            LOG.debug("stopped")
            raise
        except Exception as error:
            return _internal(error, context)


def _levels(run: Run) -> int:
    """Run the analysis levels; return the exit code of the first failure, or of a later, more severe one."""
    code = OK
    for level in run.settings.analysis_level:
        if level == "group" and run.tracker.elsewhere:
            run.progress.warn(
                f"The group level is left to the process that ends last: {len(run.tracker.elsewhere)} "
                "participants of this run are being processed by others"
            )
            code = code or BUSY
            continue
        try:
            found = resolve(PROCESS)(run) if level == "participant" else _group(run)
        except BrainsegError as error:
            if not code:
                raise
            run.progress.warn(str(error))
            found = error.exit_code
        code = code if code and found in (OK, REPORT_FAILED) else found or code
    return code


def _group(run: Run) -> int:
    """Run the group level; return the exit code."""
    out, bids_dir = run.directories.out, run.settings.bids_dir
    try:
        if directories.has_results_of(out, bids_dir):  # columns that the study got since
            participants_tsv.write(out, bids_dir)
        pages, processes = not run.settings.no_pages, run.settings.nprocs
        page = resolve(GROUP)(out, run.settings.group_by, pages=pages, processes=processes)
    except BrainsegError:
        raise
    except Exception as error:
        LOG.exception("the group report failed")
        raise ReportError(out, f"the group report failed ({type(error).__name__}: {error})") from error
    for problem in ratings.read(out, derivatives.keys(out))[1]:
        run.progress.warn(problem)
    if run.settings.group_by and (said := study_columns.repeated(out)):
        run.progress.warn(said)
    mixed = [result.key for result in derivatives.load_all(out) if result.former]
    if mixed:
        run.progress.warn(
            f"Files of earlier runs that the last one did not write are left out: {', '.join(mixed)}. "
            "The notes in group_quality.tsv name them"
        )
    run.progress.say(f"Group: {page}")
    return OK


def _record(argv: list[str]) -> dict[str, Any]:
    """Return the facts of a run that are stored with its settings."""
    return {
        "command": shlex.join(["brainseg-bids", *argv]),
        "version": __version__,
        "started": records.now(),
        "host": platform.node(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _internal(error: Exception, run: Run) -> int:
    """Report an error in the program itself; its traceback is in the log."""
    LOG.debug("internal error", exc_info=error)
    if run.settings.debug:
        raise error
    fault = failures.explain(error, None)
    where = f"See the details in {run.directories.log / logs.FILE}"
    full = fault.reason == failures.FULL_REASON
    text = str(fault) if full else f"internal error: {type(error).__name__}: {error}"
    with suppress(OSError):
        print(f"brainseg-bids: {text} {where}", file=sys.stderr)
    return FullDiskError.exit_code if full else INTERNAL
