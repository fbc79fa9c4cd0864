"""Status tracker: follows the nodes of a run and writes the status of each participant-session."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..inputs.select import ParticipantSession
from ..status import failures, inputs, notes, records
from ..status.arithmetic import words
from ..status.failures import FULL_REASON
from ..status.records import REPORT, Fault, Record
from ..status.sharing import ELSEWHERE, Sharing
from .estimate import why_killed
from .progress import Progress

FINISH = "finish"
"""Name of the node at which all results are complete."""

CACHED = 0.1
"""Duration (s) below which the results of a stage were cached."""


def passes_on(node: Any) -> bool:
    """Return whether a node only passes something on, so that it is no work of a stage."""
    return node.name == FINISH or bool(getattr(node, "run_without_submitting", False))


class Tracker:
    """The participant-sessions of a run and their states.

    Parameters
    ----------
    out_dir : Path
        The derivatives' root.
    run : str
        Identifier of the run.
    progress : Progress
        Shows the events to the user.
    settings : dict
        Settings that change results; each status file stores them.
    work : Path, optional
        The work folder.
    memory_gb : float, optional
        Memory (GB) that the run may use.
    """

    def __init__(
        self,
        out_dir: Path,
        run: str,
        progress: Progress,
        settings: dict[str, Any] | None = None,
        work: Path | None = None,
        memory_gb: float | None = None,
    ) -> None:
        self.work, self.memory_gb = work, memory_gb
        self.out_dir, self.run, self.progress, self.settings = out_dir, run, progress, settings or {}
        self.records: dict[str, Record] = {}
        self.skipped: dict[str, str] = {}
        self.pending: set[str] = set()
        self.on_end: Callable[[Record], None] = lambda record: None
        self.sharing = Sharing(out_dir, self.settings)
        self._admitted: set[str] = set()
        self._names: dict[str, str] = {}
        self._stages: dict[str, Sequence[str]] = {}
        self._running: dict[tuple[str, str], set[str]] = {}
        self._before: dict[str, dict[str, float]] = {}
        self._computed: dict[str, str] = {}
        self._since: dict[tuple[str, str], float] = {}
        self._warned = False
        self._unwritten: set[str] = set()

    def expect(
        self,
        participant_session: ParticipantSession,
        workflow: str,
        arithmetic: dict[str, str] | None = None,
        stages: Sequence[str] = (),
    ) -> None:
        """Expect the events of a participant-session from a workflow.

        Parameters
        ----------
        participant_session : ParticipantSession
            The participant-session.
        workflow : str
            Name of its workflow.
        arithmetic : dict of str to str, optional
            Precision, device, instructions and processor, if they are known.
        stages : sequence of str, optional
            Its stages in their order, empty if unknown.
        """
        key = participant_session.key
        self._stages[key] = stages
        self._names[workflow] = key
        self.records[key] = Record(
            participant_session,
            state="waiting",
            settings=self.settings,
            run=self.run,
            memory_gb=self.memory_gb,
            arithmetic=arithmetic or {},
        )
        self.pending.add(key)

    def expect_report(self, key: str, workflow: str) -> None:
        """Expect only the report of a participant-session with complete results."""
        self._names[workflow] = key
        participant_session = ParticipantSession(
            key.partition("_")[0].removeprefix("sub-"), key.partition("_ses-")[2] or None, None
        )
        self.records[key] = Record(participant_session, state="waiting", run=self.run, report_only=True)
        self.pending.add(key)

    def admit(self, key: str) -> bool:
        """Claim a participant-session whose work is about to begin.

        If another process works on it or has done so since this run began, it is skipped.

        Parameters
        ----------
        key : str
            The participant-session; one that is not of this run is admitted.

        Returns
        -------
        bool
            Whether its nodes may run.
        """
        if key in self._admitted or key not in self.pending:
            return key in self._admitted or key not in self.skipped.keys() | self.records.keys()
        record = self.records[key]
        try:
            why = self._claim(record)
        except OSError as error:
            self._fail(record, failures.of_error(error, "start"))
            return False
        if not why:
            self._admitted.add(key)
            return True
        self.pending.discard(key)
        self.progress.total -= 1
        self.skip(self.records.pop(key).participant_session, why)
        return False

    def _claim(self, record: Record) -> str:
        """Claim a participant-session; return why it is skipped, empty if it is not."""
        participant_session = record.participant_session
        why, before = self.sharing.take(participant_session)
        if why or record.report_only:
            return why
        if killed := records.killed(before):
            killed = f"{killed} {why_killed(before, participant_session.image)}"
            self.progress.warn(f"{participant_session.key}  {killed} It is processed again.")
            record.notes.append(killed)  # until it is done
        record.earlier = records.outdated(before, participant_session)
        if before.get("state") != "done" and inputs.unchanged(before.get("inputs"), participant_session):
            self._before[participant_session.key] = before.get("seconds") or {}
            self._computed[participant_session.key] = words(before)
        return ""

    def skip(self, participant_session: ParticipantSession, reason: str) -> None:
        """Skip a participant-session and keep its status."""
        self.skipped[participant_session.key] = reason
        self.progress.skipped(participant_session.key, reason)

    def retry(self, participant_session: ParticipantSession) -> bool:
        """Forget that a participant-session was skipped, if the process that had it gave no result."""
        before = self.sharing.look(participant_session.key)
        if why := self.sharing.ended(participant_session, before):
            self.skipped[participant_session.key] = why
            return False
        del self.skipped[participant_session.key]
        return True

    @property
    def elsewhere(self) -> list[str]:
        """Participant-sessions that other processes were at work on."""
        return [key for key, why in self.skipped.items() if why == ELSEWHERE]

    def refuse(self, participant_session: ParticipantSession, fault: Fault) -> None:
        """Record a participant-session that fails before its workflow starts."""
        record = Record(participant_session, started=records.now(), settings=self.settings, run=self.run)
        before = records.read(self.out_dir, participant_session.key)
        record.earlier = records.outdated(before, participant_session)
        self.records[participant_session.key] = record
        self._fail(record, fault)

    def callback(self, node: Any, event: str) -> None:
        """Handle an event of a node (``start``, ``end`` or ``exception``): Nipype's status callback."""
        key, stage = self.locate(node)
        if event == "start" and not self.admit(key):
            return
        record = self.records.get(key)
        if record is None or record.fault or record.participant_session.key not in self.pending:
            return
        if event == "start" and not passes_on(node):
            self._begin(record, stage, node.fullname)
        elif event == "end":
            self._end(record, stage, node)

    def locate(self, node: Any) -> tuple[str, str]:
        """Return the participant-session and the stage of a node, from its full name."""
        parts = str(node.fullname).split(".")
        for number, part in enumerate(parts):
            if part in self._names:
                below = parts[number + 1 :]
                return self._names[part], below[0].removesuffix("_wf") if below else ""
        return "", parts[-1]

    def failure(self, node: Any, fault: Fault) -> None:
        """Record that a node failed."""
        key, stage = self.locate(node)
        record = self.records.get(key)
        if record is None or record.fault:
            return
        self._clock(record, stage, node.fullname, on=False)
        if fault.reason == FULL_REASON:
            file = fault.file or self._fullest()
        else:
            file = fault.file or str(
                self.out_dir / f"{key}.html" if stage == REPORT else record.participant_session.image
            )
        fault = replace(
            fault, stage=stage, node=str(node.fullname), file=file, crash=self._relative(fault.crash)
        )
        if stage == REPORT:
            record.fault, record.state = fault, "done"
            self._close(record)
        else:
            self._fail(record, fault)

    def fail(self, key: str, fault: Fault) -> None:
        """Record a failure outside the nodes."""
        self._fail(self.records[key], fault)

    def interrupt(self, reason: str, remedy: str = "Run the same command again to continue") -> None:
        """Record that the run stopped: running participant-sessions end, the others wait for another run."""
        for key in sorted(self.pending):
            record = self.records[key]
            if record.state == "running":
                # Without a file: nothing is wrong with the image.
                self._fail(record, Fault(record.stage, reason, remedy=remedy, kind=records.STOPPED))

    def write_again(self) -> None:
        """Retry the status files that could not be written, for example on a full disk."""
        for key in sorted(self._unwritten):
            self._write(self.records[key])

    @property
    def faults(self) -> list[Fault]:
        """Return all faults, those of reports included."""
        return [record.fault for record in self.records.values() if record.fault]

    def summary(self) -> dict[str, str]:
        """Return the state of every participant-session of the run."""
        states = {key: record.state for key, record in self.records.items()}
        return dict(sorted((states | dict.fromkeys(self.skipped, "skipped")).items()))

    def _begin(self, record: Record, stage: str, name: str) -> None:
        self._wake(record)
        self._clock(record, stage, name, on=True)
        if record.stage != stage:
            record.stage = stage
            key = record.participant_session.key
            self.progress.stage(key, stage, self._stages.get(key, ()))
            self._write(record)

    def _end(self, record: Record, stage: str, node: Any) -> None:
        self._wake(record)  # the first node may be cached
        self._clock(record, stage, node.fullname, on=False)
        if node.name == FINISH:
            self._complete(record, node.result.outputs.out_files)
        elif stage == REPORT:
            report = Path(node.result.outputs.out_report)
            record.outputs = list(dict.fromkeys([*record.outputs, self._relative(report)]))
            record.state = "done"
            self._close(record)

    def _wake(self, record: Record) -> None:
        if record.state == "waiting":
            record.state, record.started = "running", records.now()
            self.progress.started(record.participant_session.key)

    def _clock(self, record: Record, stage: str, name: str, on: bool) -> None:
        """Measure the time during which nodes of a stage run."""
        at = (record.participant_session.key, stage)
        names = self._running.setdefault(at, set())
        if on:
            names.add(name)
            if len(names) == 1:
                self._since[at] = time.monotonic()
                self.progress.works(*at, on=True)
        elif name in names:
            names.discard(name)
            if not names:
                self.progress.works(*at, on=False)
                took = time.monotonic() - self._since.pop(at)
                record.seconds[stage] = round(record.seconds.get(stage, 0.0) + took, 2)

    def _complete(self, record: Record, files: Iterable[str]) -> None:
        """Record complete results, which the report reads from the status file."""
        paths = [Path(name) for name in ([files] if isinstance(files, (str, Path)) else files)]
        record.outputs = sorted(self._relative(path) for path in paths)
        found_notes, record.stripped, record.mask_source = notes.read(paths)
        record.notes = list(found_notes)
        # Cached stages took their time in an earlier run.
        before = self._before.get(record.participant_session.key, {})
        found = {s: took for s, took in before.items() if record.seconds.get(s, 0.0) < CACHED <= took}
        record.seconds = found | {s: took for s, took in record.seconds.items() if s not in found}
        earlier, now = self._computed.get(record.participant_session.key), words(record.as_dict())
        if found and earlier and now and earlier != now:
            record.notes.append(f"Computed in two runs with different arithmetic: {earlier}; then {now}.")
        records.remove(
            self.out_dir,
            record.participant_session.participant,
            sorted({*record.earlier} - {*record.outputs}),
        )
        record.earlier = []
        record.state, record.finished = "done", records.now()
        self._write(record)

    def _fail(self, record: Record, fault: Fault) -> None:
        record.state, record.fault, record.stage = "failed", fault, fault.stage
        record.finished = records.now()
        self._close(record)

    def _close(self, record: Record) -> None:
        self.pending.discard(record.participant_session.key)
        self._write(record)
        self.progress.ended(record)
        self.on_end(record)
        if record.state == "done":  # nodes of a failed one may still run
            self.sharing.claims.release(record.participant_session.key)

    def _write(self, record: Record) -> None:
        key = record.participant_session.key
        content = record.as_dict()
        if record.report_only:
            if self.pending & {key}:
                return
            before = records.read(self.out_dir, key)
            if before.get("state") != "done":
                return
            content = before | {"error": content["error"], "outputs": _joined(before, content)}
        try:
            records.write(self.out_dir, key, content)
        except OSError as error:
            if not self._warned:
                path = records.folder(self.out_dir) / f"{key}.json"
                self.progress.warn(
                    f"{path}: the status cannot be written ({error.strerror}). Free disk space."
                )
            self._warned = True
            self._unwritten.add(key)
        else:
            self._unwritten.discard(key)

    def _fullest(self) -> str:
        """Return the folder whose disk has the least free space."""
        there = [path for path in (self.work, self.out_dir) if path is not None and path.exists()]
        return str(min(there, key=lambda path: shutil.disk_usage(path).free, default=self.out_dir))

    def _relative(self, path: Path | str) -> str:
        if not path:
            return ""
        path = Path(path)
        with suppress(ValueError):
            return path.resolve().relative_to(self.out_dir.resolve()).as_posix()
        return str(path)


def _joined(before: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """Return the outputs of an earlier run and of this one."""
    listed = before.get("outputs")
    return list(dict.fromkeys([*(listed if isinstance(listed, list) else []), *content["outputs"]]))
