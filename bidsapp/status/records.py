"""Status records: one JSON file for each participant-session, written as a whole."""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ...models.io import atomic, outputs
from .. import __version__
from ..config import environment
from ..config.settings import present_names
from ..inputs.select import ParticipantSession
from . import inputs
from .paths import folder

REPORT = "report"
"""Name of the stage whose failure leaves the results complete."""

STOPPED, KILLED = "Stopped", "Killed"
"""Kinds of the faults of a run that was stopped, and of a process that was killed."""

SHOWN = 8
"""Files that a note names at most."""

FORMER = {"others": "left_out", "beside": "other_contrasts", "given": "precomputed"}
"""Present names of the fields that status files of earlier versions name differently."""


@dataclass(frozen=True)
class Fault:
    """Why a participant-session failed, in words for the user.

    Attributes
    ----------
    stage, node : str
        Where it failed.
    file, reason, remedy : str
        What is wrong with which file, and what to do.
    crash : str
        File with the details.
    kind : str
        Class of the exception.
    """

    stage: str
    reason: str
    file: str = ""
    remedy: str = ""
    node: str = ""
    crash: str = ""
    kind: str = ""

    def __str__(self) -> str:
        head = f"{self.file}: " if self.file else ""
        tail = f" {self.remedy.rstrip('.')}." if self.remedy else ""
        return f"{head}{self.reason.rstrip('.')}.{tail}"

    def as_dict(self) -> dict[str, str]:
        """Return the error as in the status file."""
        names = ("node", "stage", "file", "reason", "remedy", "crash", "kind")
        return {name: getattr(self, name) for name in names}


@dataclass
class Record:
    """The status of one participant-session, as in its file.

    ``earlier`` are files that were made from another image; they are removed when the new results are
    complete. ``memory_gb`` is the memory (GB) that the run may use.
    """

    participant_session: ParticipantSession
    state: str = "running"
    started: str = ""
    finished: str = ""
    stage: str = ""
    fault: Fault | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    stripped: bool = False
    mask_source: str = ""
    outputs: list[str] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    arithmetic: dict[str, str] = field(default_factory=dict)
    run: str = ""
    memory_gb: float | None = None
    report_only: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the content of the status file."""
        participant_session = self.participant_session
        return {
            "key": participant_session.key,
            "participant": participant_session.participant,
            "session": participant_session.session,
            "state": self.state,
            "reference": str(participant_session.image or ""),
            "suffix": participant_session.suffix,
            "left_out": [str(path) for path in participant_session.left_out],
            "averaged": [str(path) for path in participant_session.averaged],
            "other_contrasts": [str(path) for path in participant_session.other_contrasts],
            "precomputed": {role: str(path) for role, path in participant_session.precomputed.files.items()},
            "population": participant_session.population,
            "label_table": participant_session.label_table,
            "age": participant_session.age,
            "age_unit": participant_session.age_unit,
            "sex": participant_session.sex,
            "columns": participant_session.columns,
            "started": self.started,
            "finished": self.finished,
            "stage": self.stage,
            "error": self.fault.as_dict() if self.fault else None,
            "seconds": self.seconds,
            "notes": list(dict.fromkeys([*participant_session.notes, *self.notes])),
            "stripped": self.stripped,
            "mask_source": self.mask_source,
            "version": __version__,
            "arithmetic": self.arithmetic,
            "run": self.run,
            "host": platform.node(),
            "job": environment.job(),
            "memory_gb": self.memory_gb,
            "settings": self.settings,
            "inputs": inputs.of(participant_session, checksums=self.state in ("running", "done")),
            "outputs": self.outputs,
            "earlier": self.earlier,
        }


def now() -> str:
    """Return the time with its zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def read(out_dir: Path, key: str) -> dict[str, Any]:
    """Read a status file; empty if there is none or it is damaged."""
    try:
        content = json.loads((folder(out_dir) / f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(FORMER.get(name, name)): value for name, value in content.items()}


def version_of(content: dict[str, Any]) -> tuple[Any, ...]:
    """Return what differs between two versions of a status file: who wrote it, and in which state."""
    return tuple(content.get(name) for name in ("run", "state", "finished"))


def any_sloppy(out_dir: Path) -> bool:
    """Return whether any participant-session was computed with ``--sloppy``."""
    return any(is_sloppy(read(out_dir, path.stem)) for path in folder(out_dir).glob("*.json"))


def is_sloppy(status: dict[str, Any]) -> bool:
    """Return whether the results of a status are coarse, for trying only (``--sloppy``)."""
    settings = status.get("settings")
    return isinstance(settings, dict) and settings.get("sloppy") is True


def write(out_dir: Path, key: str, content: dict[str, Any]) -> None:
    """Write a status file as a whole."""
    atomic.write_text(
        folder(out_dir) / f"{key}.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    )


def was_stopped(error: Any) -> bool:
    """Return whether the ``error`` of a status file says that the run was stopped: no failure of the data."""
    return isinstance(error, dict) and error.get("kind") == STOPPED


def finished(out_dir: Path, participant_session: ParticipantSession, settings: dict[str, Any]) -> str:
    """Return whether results are complete: ``yes``, ``no``, or ``report`` if only the report is missing.

    They are if the last run ended without failure, with this version, these settings and the same input
    files, and all its output files exist.
    """
    content = read(out_dir, participant_session.key)
    if content.get("state") != "done" or _difference(out_dir, content, participant_session, settings):
        return "no"
    listed = content["outputs"]
    # A report that failed or was not reached is no reason to compute again.
    reported = any(str(name).endswith(".html") for name in listed)
    missing = _missing(out_dir, listed)
    return "report" if missing or content.get("error") or not reported else "yes"


def why_again(out_dir: Path, participant_session: ParticipantSession, settings: dict[str, Any]) -> str:
    """Return why results that were complete are computed again; empty if they stand or were not complete.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    participant_session : ParticipantSession
        The participant-session.
    settings : dict
        Settings of this run that matter.
    """
    content = read(out_dir, participant_session.key)
    if content.get("state") != "done":
        return ""
    return _difference(out_dir, content, participant_session, settings)


def _difference(
    out_dir: Path, content: dict[str, Any], participant_session: ParticipantSession, settings: dict[str, Any]
) -> str:
    """Return what differs between complete results and this run in words; empty if nothing does."""
    if content.get("version") != __version__:
        return f"other version ({content.get('version')})"
    before, now = content.get("settings"), _comparable(settings)
    then = _comparable(before) if isinstance(before, dict) else {}
    if then != now:
        names = [name for name in dict.fromkeys([*now, *then]) if then.get(name) != now.get(name)]
        return f"other settings ({', '.join(name.replace('_', ' ') for name in names)})"
    listed = content.get("outputs")
    if not isinstance(listed, list) or not listed:
        return "no list of its files"
    if gone := [name for name in _missing(out_dir, listed) if not name.endswith(".html")]:
        return f"missing files ({gone[0]}{', ...' if len(gone) > 1 else ''})"
    return "" if inputs.unchanged(content.get("inputs"), participant_session) else "other input files"


def _missing(out_dir: Path, listed: list[Any]) -> list[str]:
    """Return the files of a status that are not there."""
    return [str(name) for name in listed if not (out_dir / str(name)).is_file()]


def _comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings by their present names, with names but not places of derivatives, whose files count."""
    out = present_names(settings)
    given = out.get("derivatives")
    if isinstance(given, list):
        out["derivatives"] = [str(text).partition("=")[0] for text in given]
    return out


def keep_times(out_dir: Path, participant_session: ParticipantSession) -> None:
    """Note the times of unchanged input files, such as those of a copied dataset, in the status file."""
    content = read(out_dir, participant_session.key)
    with suppress(OSError, ValueError, AttributeError, TypeError, KeyError):
        now = inputs.retimed(content["inputs"], participant_session)
        if content["inputs"] != now:
            write(out_dir, participant_session.key, content | {"inputs": now})


def former(content: dict[str, Any], key: str, names: list[str]) -> list[str]:
    """Return the results that an earlier run left and the last one did not write; files of users are none.

    Parameters
    ----------
    content : dict
        Content of the status file; without a list of outputs nothing is known.
    key : str
        The participant-session.
    names : list of str
        Names of the files in its folder.
    """
    listed = content.get("outputs")
    written = {str(name).rpartition("/")[2] for name in listed} if isinstance(listed, list) else set()
    if written.isdisjoint(names):
        return []
    return [name for name in names if name not in written and outputs.is_result(name, key)]


def words_on_former(names: list[str]) -> list[str]:
    """Return the note on results of an earlier run; none without such files."""
    if not names:
        return []
    shown = [name for name in names if not name.endswith((".json", ".lut.txt"))] or names
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    files = ", ".join(shown[:SHOWN])
    return [f"Left out, as an earlier run wrote them and the last one did not: {files}{more}."]


def outdated(before: dict[str, Any], participant_session: ParticipantSession) -> list[str]:
    """Return the files of an earlier status that were made from another image."""
    known = inputs.same(before.get("inputs"), participant_session.image, participant_session.participant)
    lists = [before.get("earlier")] + [before.get("outputs")] * (not known)
    return sorted({str(name) for names in lists if isinstance(names, list) for name in names})


def remove(out_dir: Path, participant: str, names: list[str]) -> None:
    """Remove files of a participant; files in other folders are kept, whatever the list says."""
    folder = (out_dir / f"sub-{participant}").resolve()
    for name in names:
        path = out_dir / name
        if folder in path.parent.resolve().parents and path.is_file():
            with suppress(OSError):
                path.unlink()


def killed(before: dict[str, Any]) -> str:
    """Return the sentence on a run that was killed, by the status that it left; empty if it ended.

    It holds if no living process has claimed the participant-session.

    Parameters
    ----------
    before : dict
        Content of the status file.

    Examples
    --------
    >>> killed({"state": "running", "stage": "bias", "host": "node7", "job": "12_3", "started": "2026-01-05"})
    'Its run of 2026-01-05 (node7, job 12_3) was killed at bias.'
    """
    if before.get("state") != "running":
        return ""
    job = f"job {before['job']}" if before.get("job") else ""
    where = ", ".join(str(word) for word in (before.get("host"), job) if word)
    when = f" of {before['started']}" if before.get("started") else ""
    return f"Its run{when}{f' ({where})' if where else ''} was killed at {before.get('stage') or 'start'}."
