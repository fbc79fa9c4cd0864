"""Participant level: select unfinished participant-sessions, process them in batches and summarize."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...models.errors import BrainsegError, MissingFileError, UsageError
from ...models.io import atomic
from ..inputs import validator
from ..inputs.select import ParticipantSession
from ..reports.participant import write_participant
from ..status import claims, failures, records
from ..status.records import Record
from ..status.sharing import ELSEWHERE
from . import directories, dry_run, estimate, licenses, participants_tsv, progress, quality_gate
from . import workflow as graph
from .context import BUSY, FAILED, OK, REPORT_FAILED, Run
from .scheduler import server
from .scheduler.devices import devices
from .tracker import Tracker

LOG = logging.getLogger("brainseg")
FEW = 10
"""Largest number of failures that are all still visible at the end, and of notes that are printed there."""

BATCH = 96
"""Number of participant-sessions in one workflow; Nipype is slow with large graphs."""


def process(run: Run) -> int:
    """Process the selected participant-sessions and return the exit code.

    Parameters
    ----------
    run : Run
        The context of the run.
    """
    settings, tracker, out = run.settings, run.tracker, run.directories.out
    participant_sessions = run.selection.participant_sessions
    for note in [*run.selection.notes, *licenses.notes(settings, participant_sessions)]:
        run.progress.say(note)
    if settings.boilerplate_only:
        return _methods(run)
    tables = dry_run.label_files(settings, run.selection)
    graph.describe_dataset(out, settings.bids_dir, settings.precomputed, settings.sloppy, tables)
    graph.describe_networks(settings, out)
    participants_tsv.write(out, settings.bids_dir, participant_sessions)
    validation = _validate(run)
    with tracker.sharing.claims:
        to_do, reports = _triage(run)
        if not (settings.keep_work_dir or settings.debug):
            tracker.on_end = lambda record: _clean(record, run)
        try:
            _compute(run, to_do, reports)
            _compute(run, _left_by_others(run), [])
        finally:
            tracker.write_again()
            _report_failures(run)
            with suppress(OSError):
                text = json.dumps(tracker.summary(), indent=2)
                atomic.write_text(run.directories.log / "summary.json", f"{text}\n")
            with suppress(BrainsegError, OSError):  # sloppy results may have been computed properly now
                coarse = settings.sloppy and records.any_sloppy(out)
                graph.describe_dataset(out, settings.bids_dir, settings.precomputed, coarse, tables)
            directories.clean_work(run.directories)
    _say_validation(run, validation)
    _sum_up(run)
    code = exit_code(tracker)
    if settings.quality_gate and code in (OK, REPORT_FAILED):
        keys = [ps.key for ps in participant_sessions]
        return quality_gate.check(out, keys, settings.quality_gate, run.progress) or code
    return code


def _triage(run: Run) -> tuple[list[ParticipantSession], list[str]]:
    """Return the participant-sessions to process, and the keys of those without report only.

    None is claimed yet: several processes with the same selection share it.
    """
    settings, tracker, out = run.settings, run.tracker, run.directories.out
    to_do, reports, refused = [], [], []
    for ps in run.selection.participant_sessions:
        if settings.reports_only:
            if records.read(out, ps.key):
                reports.append(ps.key)
            else:
                tracker.skip(ps, "no derivatives yet")
            continue
        if settings.resume_failed and records.read(out, ps.key).get("state") != "failed":
            tracker.skip(ps, "did not fail in an earlier run (--resume-failed)")
        elif ps.problem is not None:
            refused.append(ps)
        else:
            tracker.sharing.look(
                ps.key
            )  # before it is asked whether it is finished: another process may end it now
            stands = records.finished(out, ps, tracker.settings) if settings.resume else "no"
            if stands == "yes":
                records.keep_times(out, ps)
                tracker.sharing.claims.tidy(ps.key)
                # Another machine may have finished it after a run here was killed.
                if not (settings.keep_work_dir or settings.debug):
                    directories.clean_work(run.directories, graph.workflow_name(ps.key))
                tracker.skip(ps, "already done (--no-resume computes it again)")
            elif stands == "report":
                reports.append(ps.key)
            else:
                to_do.append(ps)
    _tell_repeated(run, to_do)
    run.progress.total = len(to_do) + len(reports) + len(refused)
    for ps in refused:
        _refuse(ps, tracker)
    return to_do, reports


def _tell_repeated(run: Run, to_do: list[ParticipantSession]) -> None:
    """Tell why results that were complete are computed again, each reason once."""
    found: dict[str, list[str]] = {}
    for ps in to_do if run.settings.resume else ():
        if why := records.why_again(run.directories.out, ps, run.tracker.settings):
            found.setdefault(why, []).append(ps.key)
    for why, keys in found.items():
        some = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
        run.progress.say(f"Done before and processed again ({len(keys)}: {some}): {why}")


def _refuse(participant_session: ParticipantSession, tracker: Tracker) -> None:
    """Record a participant-session that cannot be processed, unless another process has it."""
    if participant_session.problem is None or not tracker.sharing.claims.take(participant_session.key):
        tracker.progress.total -= 1
        tracker.skip(participant_session, ELSEWHERE)
        return
    tracker.refuse(participant_session, failures.of_error(participant_session.problem, "dataset"))
    tracker.sharing.claims.release(participant_session.key)


def _left_by_others(run: Run) -> list[ParticipantSession]:
    """Return the participant-sessions that other processes worked on and left without result."""
    tracker, settings, out = run.tracker, run.settings, run.directories.out
    if settings.stop_on_first_crash and tracker.faults:
        return []
    skipped = [ps for ps in run.selection.participant_sessions if tracker.skipped.get(ps.key) == ELSEWHERE]
    free = [ps for ps in skipped if ps.problem is None and claims.holder(out, ps.key) is None]
    left = [ps for ps in free if tracker.retry(ps)]
    run.progress.total += len(left)
    return left


def _compute(run: Run, to_do: list[ParticipantSession], reports: list[str]) -> None:
    """Run the workflows in batches."""
    settings = run.settings
    if not (to_do or reports):
        return
    images = [ps.image for ps in to_do if ps.image]
    settings, need = estimate.with_threads(settings, images), estimate.needed(images)
    run = replace(run, settings=settings)
    server.start(settings)
    at_once = run.progress.at_once = max(1, settings.nprocs // settings.omp_nthreads)
    for note in directories.prepare_work(run.directories, len(to_do), at_once):
        run.progress.warn(note)
    if need and need.gb > settings.mem_gb:
        run.progress.warn(
            f"{need.short}, but this run may use {settings.mem_gb:.1f} GB: the system may kill it. "
            "Ask for more (--mem of the batch system or container, and --mem here)."
        )
    names = devices(settings) if to_do else ["cpu"]
    if to_do:
        threads = f"{settings.omp_nthreads} thread{'s' * (settings.omp_nthreads > 1)} for one step"
        cpus = f"{settings.nprocs} CPU{'s' * (settings.nprocs != 1)}"
        resources = f"{cpus}, {threads}, {settings.mem_gb:.1f} GB of memory"
        run.progress.say(f"{len(to_do)} to process with {resources}, networks on {', '.join(names)}")
    if not settings.resume:
        for ps in to_do:
            directories.clean_work(run.directories, graph.workflow_name(ps.key))
    with run.progress:
        if reports:
            graph.execute(graph.build_reports(reports, run), run)
        for first in range(0, len(to_do), BATCH):
            workflow = graph.build(to_do[first : first + BATCH], run, names)
            if first == 0:
                _describe(run, workflow, to_do)
            graph.execute(workflow, run, names)
            run.tracker.sharing.claims.release_all()  # those of failed ones
            if settings.stop_on_first_crash and run.tracker.faults:
                break


def _describe(run: Run, workflow: Any, to_do: list[ParticipantSession]) -> None:
    """Write the methods text and, if requested, a drawing of the first workflow."""
    names = [graph.workflow_name(ps.key) for ps in to_do]
    first = next((found for name in names if (found := workflow.get_node(name)) is not None), None)
    if first is None:
        return
    graph.write_methods(first, run.directories.out, run.settings.sloppy)
    if not run.settings.write_graph:
        return
    for path in graph.draw(first, run.directories):
        run.progress.say(f"Workflow: {path}")
    if not graph.has_graphviz():
        run.progress.warn("Graphviz is not installed (its program 'dot'), so only a description is written")


def _methods(run: Run) -> int:
    """``--boilerplate-only``."""
    participant_session = next((ps for ps in run.selection.participant_sessions if ps.problem is None), None)
    if participant_session is None:
        reason = "no participant can be processed, so there is no methods text"
        raise UsageError(run.settings.bids_dir, reason)
    name = graph.workflow_name(participant_session.key)
    workflow = graph.participant_session_workflow(
        participant_session, run.settings, run.directories, "cpu", name
    )
    run.progress.say(
        f"Methods text: {graph.write_methods(workflow, run.directories.out, run.settings.sloppy)}"
    )
    return OK


def _clean(record: Record, run: Run) -> None:
    """Remove the intermediate files of a finished participant-session; failed ones keep them."""
    if record.state == "done":
        directories.clean_work(run.directories, graph.workflow_name(record.participant_session.key))


def _report_failures(run: Run) -> None:
    """Write the reports of failed participant-sessions, which explain the failure."""
    for key, record in run.tracker.records.items():
        if record.state == "failed" and not record.report_only:
            try:
                write_participant(run.directories.out, key)
            except Exception as error:
                LOG.warning("%s: its report could not be written (%s)", key, error)
                LOG.debug("", exc_info=error)


def exit_code(tracker: Tracker) -> int:
    """Return the exit code for the states of all participant-sessions.

    Parameters
    ----------
    tracker : Tracker
        Status of each participant-session.
    """
    grave = [fault for fault in tracker.faults if fault.stage != records.REPORT]
    if grave and all(fault.kind == MissingFileError.__name__ for fault in grave):
        return MissingFileError.exit_code
    if grave or any(state in ("waiting", "running") for state in tracker.summary().values()):
        return FAILED
    if tracker.faults:
        return REPORT_FAILED
    return BUSY if tracker.elsewhere and not tracker.records else OK


def _sum_up(run: Run) -> None:
    """Print the number of participant-sessions in each state, and the location of the details."""
    tracker, say = run.tracker, run.progress.say
    states = list(tracker.summary().values())
    counts = [(name, states.count(state)) for state, name in dry_run.STATES.items() if states.count(state)]
    _say_notes(run)
    say("; ".join(f"{count} {name}" for name, count in counts) or "Nothing to do")
    failed = [record for _, record in sorted(tracker.records.items()) if record.fault]
    for record in failed if len(states) > FEW else []:  # they have scrolled off the terminal
        run.progress.warn(f"  {progress.describe(record)}")
    if any(fault.crash for fault in tracker.faults):
        say(f"Details of the failures: {run.directories.log}")
    if tracker.elsewhere:
        begin = "" if tracker.records else "Nothing to do here: "
        say(f"{begin}{len(tracker.elsewhere)} are being processed by other processes")
    if "failed" in states or "waiting" in states:
        say(f"{run.settings.again} to process what is missing; finished participants are kept.")


def _say_notes(run: Run) -> None:
    """Print what was ignored, guessed or replaced, each note once with its participant-sessions."""
    by_note, said = defaultdict(list), licenses.notes(run.settings, run.selection.participant_sessions)
    for key, record in sorted(run.tracker.records.items()):
        for note in dict.fromkeys([*record.participant_session.notes, *record.notes]):
            if note not in said:
                by_note[note].append(key)
    for note, keys in [*by_note.items()][:FEW]:
        some = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        run.progress.say(f"Note on {some}: {note}")
    if len(by_note) > FEW:
        run.progress.say(f"{len(by_note) - FEW} more notes are in the reports and in group_quality.tsv")


def _validate(run: Run) -> validator.Validation | None:
    """Start the BIDS validator; return None if it is switched off."""
    path = run.directories.log / validator.FILE
    if run.settings.skip_bids_validation:
        validator.keep(path, _not_validated())
    elif not run.settings.reports_only:
        return validator.Validation(run.settings.bids_dir, path).start()
    return None


def _say_validation(run: Run, validation: validator.Validation | None) -> None:
    """Report and store the result of the BIDS validator, or the reason why it did not run."""
    if run.settings.reports_only:
        return
    found = _not_validated()
    lines = [f"The BIDS validator was not run ({found['reason']})"]
    if validation:
        lines, found = validation.lines(), validation.found
    for line in lines:
        run.progress.say(line)
    validator.keep(run.directories.log / validator.FILE, found)


def _not_validated() -> dict[str, Any]:
    return {"ran": False, "reason": "--skip-bids-validation"}
