"""A run: the levels one after the other, the exit code, and what is kept of it."""

from __future__ import annotations

import json
import logging
import platform
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ...models.errors import BrainsegError, MissingFileError, ReportError, UsageError
from ...models.io import atomic
from ...models.templates import spaces
from .. import __version__
from ..config import settings
from ..config.environment import quiet_environment
from ..config.settings import Settings
from ..inputs import select, validator
from ..inputs.select import Selection, Unit
from ..status import records
from . import directories, dry_run, failures, licenses, participants_tsv, progress, quality_gate
from . import workflow as graph
from .directories import Places
from .progress import Progress
from .tracker import Board

LOG = logging.getLogger("brainseg")
OK, FAILED, REPORT_FAILED, INTERNAL = 0, 1, ReportError.exit_code, 70
FEW = 10
BATCH = 96
"""Units in one workflow: Nipype slows down with the size of the graph."""


class Stopped(KeyboardInterrupt):
    """The system asked the run to end."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name)
        self.exit_code = 128 + number


def run(chosen: Settings, argv: list[str]) -> int:
    """Do what the settings say; returns the exit code.

    Raises
    ------
    BrainsegError
        If the run cannot begin.
    """
    quiet_environment()
    directories.check(chosen)
    for space in chosen.output_spaces if "participant" in chosen.analysis_level else ():
        spaces.find(spaces.parse(space))
    if chosen.nipype_plugin_file:
        graph.plugin_of(chosen.nipype_plugin_file)
    wanted = select.select(chosen) if "participant" in chosen.analysis_level else Selection([], [])
    if chosen.dry_run:
        print(dry_run.describe(chosen, wanted))
        return OK
    spots = directories.prepare(chosen)
    told = progress.choose(
        len(wanted.units), plain=bool(chosen.verbose or chosen.debug or chosen.plugin == "linear")
    )
    with _logging(spots, chosen, told), _signals():
        atomic.write_text(spots.log / "brainseg.toml", settings.to_toml(chosen, _record(argv)))
        told.say(f"brainseg-bids {__version__}  {chosen.bids_dir} -> {spots.out}")
        told.say(f"Log and settings of this run: {spots.log}")
        try:
            return _levels(chosen, wanted, spots, told)
        except BrainsegError as error:
            LOG.debug("%s", error)
            raise
        except KeyboardInterrupt:
            LOG.debug("stopped")
            raise
        except Exception as error:
            return _internal(error, chosen, spots)


def _levels(chosen: Settings, wanted: Selection, spots: Places, told: Progress) -> int:
    code = OK
    for level in chosen.analysis_level:
        try:
            found = (
                _participants(chosen, wanted, spots, told) if level == "participant" else _group(spots, told)
            )
        except BrainsegError as error:
            if not code:
                raise
            told.warn(str(error))
            found = error.exit_code
        # The first failure is told, unless a later one is of a graver kind.
        code = code if code and found in (OK, REPORT_FAILED) else found or code
    return code


def _participants(chosen: Settings, wanted: Selection, spots: Places, told: Progress) -> int:
    """The participant level."""
    for note in [*wanted.notes, *licenses.notes(chosen, wanted.units)]:
        told.say(note)
    board = Board(spots.out, spots.run, told, chosen.that_matter, work=spots.work)
    if chosen.boilerplate_only:
        return _methods(chosen, wanted, spots, told, board)
    graph.describe_dataset(spots.out, chosen.bids_dir, chosen.precomputed)
    participants_tsv.write(spots.out, chosen.bids_dir, wanted.units)
    check = None
    if not (chosen.skip_bids_validation or chosen.reports_only):
        check = validator.Validation(chosen.bids_dir, spots.log / validator.FILE).start()
    elif chosen.skip_bids_validation:
        validator.keep(spots.log / validator.FILE, {"ran": False, "reason": "--skip-bids-validation"})
    with ExitStack() as claims:
        todo, reports = _triage(chosen, wanted.units, spots, board, claims)
        told.total = len(todo) + len(reports) + len(board.records)
        if not (chosen.keep_work_dir or chosen.debug):
            board.on_end = lambda record: _tidy(record, spots)
        try:
            _compute(chosen, todo, reports, spots, board, told)
        finally:
            board.write_again()
            _pages(board, spots)
            with suppress(OSError):
                atomic.write_text(spots.log / "summary.json", json.dumps(board.summary(), indent=2) + "\n")
            directories.clean_work(spots)
    _tell_validation(check, chosen, spots, told)
    _sum_up(board, spots, told)
    code = exit_code(board)
    if chosen.quality_gate and code in (OK, REPORT_FAILED):
        keys = [unit.key for unit in wanted.units]
        return quality_gate.tell(spots.out, keys, chosen.quality_gate, told) or code
    return code


def _triage(
    chosen: Settings, units: list[Unit], spots: Places, board: Board, claims: ExitStack
) -> tuple[list[Unit], list[str]]:
    """Units to compute, and keys of those that only lack their report."""
    todo, reports = [], []
    for unit in units:
        if chosen.reports_only:
            if records.read(spots.out, unit.key):
                reports.append(unit.key)
            else:
                board.skip(unit, "nothing of it is in the output folder yet")
            continue
        if chosen.resume_failed and records.read(spots.out, unit.key).get("state") != "failed":
            board.skip(unit, "it has not failed in an earlier run (--resume-failed)")
        elif not claims.enter_context(records.claim(spots.out, unit.key)):
            board.skip(unit, "another process is working on it")
        elif unit.problem is not None:
            board.refuse(unit, failures.of_error(unit.problem, "dataset"))
        else:
            stands = records.finished(spots.out, unit, board.settings) if chosen.resume else "no"
            if stands == "yes":
                board.skip(unit, "already done (--no-resume computes it again)")
            elif stands == "report":
                reports.append(unit.key)
            else:
                todo.append(unit)
    return todo, reports


def _compute(
    chosen: Settings, todo: list[Unit], reports: list[str], spots: Places, board: Board, told: Progress
) -> None:
    """Run the workflows of all units, in batches."""
    if not (todo or reports):
        return
    graph.warm_up(chosen)
    at_once = max(1, chosen.nprocs // chosen.omp_nthreads)
    for note in directories.prepare_work(spots, len(todo), at_once):
        told.warn(note)
    use = graph.devices(chosen) if todo else ["cpu"]
    gpus = sum(name.startswith("cuda") for name in use)
    if todo:
        with_what = f"{chosen.nprocs} CPUs, {chosen.mem_gb:.1f} GB of memory, networks on {', '.join(use)}"
        told.say(f"{len(todo)} to process with {with_what}")
    if not chosen.resume:
        for unit in todo:
            directories.clean_work(spots, graph.workflow_name(unit.key))
    with told:
        if reports:
            graph.execute(graph.build_reports(reports, chosen, spots, board), chosen, spots, board)
        for first in range(0, len(todo), BATCH):
            workflow = graph.build(todo[first : first + BATCH], chosen, spots, board, use)
            if first == 0:
                _describe(workflow, todo, chosen, spots, told)
            graph.execute(workflow, chosen, spots, board, gpus)
            if chosen.stop_on_first_crash and board.faults:
                break


def _describe(workflow: Any, todo: list[Unit], chosen: Settings, spots: Places, told: Progress) -> None:
    """Methods text and, if wanted, a drawing, of the first unit's workflow."""
    names = [graph.workflow_name(unit.key) for unit in todo]
    one = next((found for name in names if (found := workflow.get_node(name)) is not None), None)
    if one is None:
        return
    graph.write_methods(one, spots.out)
    if chosen.write_graph:
        for path in graph.draw(one, spots):
            told.say(f"Workflow: {path}")
        if not graph.has_graphviz():
            told.warn(
                "Graphviz is not installed (its program 'dot'), so the workflow is described but not drawn"
            )


def _methods(chosen: Settings, wanted: Selection, spots: Places, told: Progress, board: Board) -> int:
    """``--boilerplate-only``."""
    unit = next((unit for unit in wanted.units if unit.problem is None), None)
    if unit is None:
        raise UsageError(
            chosen.bids_dir, "no participant can be processed, so there is no method to describe"
        )
    workflow = graph.unit_workflow(unit, chosen, spots, "cpu", graph.workflow_name(unit.key))
    told.say(f"Methods text: {graph.write_methods(workflow, spots.out)}")
    return OK


def _tidy(record: records.Record, spots: Places) -> None:
    """Remove the intermediate files of a unit that is done; others go on from theirs."""
    if record.state == "done":
        directories.clean_work(spots, graph.workflow_name(record.unit.key))


def _pages(board: Board, spots: Places) -> None:
    """Reports of what failed: they say why."""
    for key, record in board.records.items():
        if record.state == "failed" and not record.report_only:
            try:
                from ..reports.participant import write_participant

                write_participant(spots.out, key)
            except Exception as error:
                LOG.warning("%s: its report could not be written (%s)", key, error)
                LOG.debug("", exc_info=error)


def _group(spots: Places, told: Progress) -> int:
    """The group level."""
    from ..reports.group import run_group

    try:
        page = run_group(spots.out)
    except BrainsegError:
        raise
    except Exception as error:
        LOG.exception("the group's report failed")
        raise ReportError(
            spots.out, f"the group's report failed ({type(error).__name__}: {error})"
        ) from error
    told.say(f"Group: {page}")
    return OK


def exit_code(board: Board) -> int:
    """What the process returns for what is on the board."""
    grave = [fault for fault in board.faults if fault.stage != records.REPORT]
    if grave and all(fault.kind == MissingFileError.__name__ for fault in grave):
        return MissingFileError.exit_code
    if grave or any(state in ("waiting", "running") for state in board.summary().values()):
        return FAILED
    return REPORT_FAILED if board.faults else OK


def _sum_up(board: Board, spots: Places, told: Progress) -> None:
    """The last lines: how many ended how, and where to read on."""
    states = list(board.summary().values())
    counts = [(name, states.count(state)) for state, name in dry_run.STATES.items() if states.count(state)]
    told.say("; ".join(f"{count} {name}" for name, count in counts) or "Nothing to do")
    failed = [record for _, record in sorted(board.records.items()) if record.fault]
    for record in failed if len(states) > FEW else []:  # they are out of sight by now
        told.warn(f"  {progress.describe(record)}")
    if any(fault.crash for fault in board.faults):
        told.say(f"Details of the failures: {spots.log}")
    if "failed" in states or "waiting" in states:
        told.say("Run the same command again to process what is missing; what is done stays.")


def _tell_validation(
    check: validator.Validation | None, chosen: Settings, spots: Places, told: Progress
) -> None:
    """Say and keep what the BIDS validator found, or that it did not run."""
    if chosen.reports_only:
        return
    reason = "--skip-bids-validation"
    for line in check.lines() if check else [f"The BIDS validator was not run ({reason})"]:
        told.say(line)
    found = check.found if check else {"ran": False, "reason": reason}
    validator.keep(spots.log / validator.FILE, found)


def _record(argv: list[str]) -> dict[str, Any]:
    return {
        "command": shlex.join(["brainseg-bids", *argv]),
        "version": __version__,
        "started": records.now(),
        "host": platform.node(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _internal(error: Exception, chosen: Settings, spots: Places) -> int:
    """An error that should not be: its traceback is in the log."""
    LOG.debug("internal error", exc_info=error)
    if chosen.debug:
        raise error
    fault = failures.explain(error, None)
    where = f"The details are in {spots.log / 'brainseg.log'}"
    full = fault.reason == failures.FULL_REASON
    text = str(fault) if full else f"internal error: {type(error).__name__}: {error}"
    with suppress(OSError):
        print(f"brainseg-bids: {text} {where}", file=sys.stderr)
    return FAILED if full else INTERNAL


class _Console(logging.StreamHandler):
    """What the user reads; where it cannot be written any more, the run goes on without."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _File(logging.FileHandler):
    """A log file; when it cannot be written any more (a full disk), the run goes on without."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def _logging(spots: Places, chosen: Settings, told: Progress) -> Iterator[None]:
    """Everything goes to the run's log; to the terminal only what the user should read."""
    import nipype

    file = _File(spots.log / "brainseg.log", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    console = _Console(sys.stdout)
    console.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    console.setLevel(logging.INFO)
    plain = type(told) is Progress
    loggers = {name: logging.getLogger(name) for name in ("brainseg", "nipype", "py.warnings")}
    before = {
        name: (list(logger.handlers), logger.level, logger.propagate) for name, logger in loggers.items()
    }
    level = logging.DEBUG if chosen.verbose > 1 else logging.INFO
    for name, logger in loggers.items():
        logger.handlers[:] = [file]
        logger.propagate = False
        if (name == "brainseg" and plain) or chosen.verbose:
            logger.addHandler(console)
    loggers["brainseg"].setLevel(logging.DEBUG)
    for child in nipype.logging.loggers.values():
        child.setLevel(level)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for name, (handlers, old, propagate) in before.items():
            loggers[name].handlers[:], loggers[name].propagate = handlers, propagate
            loggers[name].setLevel(old)
        with suppress(OSError):
            file.close()


@contextmanager
def _signals() -> Iterator[None]:
    """Being asked to end (by Slurm, by docker stop) ends the run as Ctrl-C does."""

    def stop(number: int, frame: Any) -> None:
        raise Stopped(signal.Signals(number).name, number)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
