"""Status records: one JSON file for each participant-session, written as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from ...models.io import atomic
from .. import __version__
from ..config.settings import present_names
from ..inputs.select import Unit
from . import cleanup

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # a platform without file locks
    fcntl = None

REPORT = "report"
"""Name of the stage whose failure leaves the results whole."""


@dataclass(frozen=True)
class Fault:
    """Why a unit failed, in the words that its user gets.

    Attributes
    ----------
    stage, node : str
        Where.
    file, reason, remedy : str
        What is wrong with which file, and the way out.
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
        """As the status file holds it."""
        names = ("node", "stage", "file", "reason", "remedy", "crash")
        return {name: getattr(self, name) for name in names}


@dataclass
class Record:
    """The status of one unit, as it stands in its file.

    ``earlier`` are files that were made from another image; they go when the new results stand.
    """

    unit: Unit
    state: str = "running"
    started: str = ""
    finished: str = ""
    stage: str = ""
    fault: Fault | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    stripped: bool = False
    outputs: list[str] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    run: str = ""
    report_only: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Content of the status file."""
        unit = self.unit
        return {
            "key": unit.key,
            "participant": unit.participant,
            "session": unit.session,
            "state": self.state,
            "reference": str(unit.image or ""),
            "suffix": unit.suffix,
            "others": [str(path) for path in unit.others],
            "averaged": [str(path) for path in unit.averaged],
            "beside": [str(path) for path in unit.beside],
            "given": {role: str(path) for role, path in unit.given.files.items()},
            "population": unit.population,
            "label_table": unit.label_table,
            "age": unit.age,
            "age_unit": unit.age_unit,
            "sex": unit.sex,
            "started": self.started,
            "finished": self.finished,
            "stage": self.stage,
            "error": self.fault.as_dict() if self.fault else None,
            "seconds": self.seconds,
            "notes": list(dict.fromkeys([*unit.notes, *self.notes])),
            "stripped": self.stripped,
            "version": __version__,
            "run": self.run,
            "settings": self.settings,
            "inputs": inputs_of(unit),
            "outputs": self.outputs,
            "earlier": self.earlier,
        }


def now() -> str:
    """The time, with its zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def fingerprint(image: Path | None) -> dict[str, Any]:
    """What tells that an image is still the same file."""
    try:
        found = image.stat() if image else None
    except OSError:
        found = None
    if found is None:
        return {"path": str(image or ""), "size": None, "mtime": None}
    return {"path": str(image), "size": found.st_size, "mtime": round(found.st_mtime, 3)}


def inputs_of(unit: Unit) -> dict[str, Any]:
    """What tells that all that a unit is made from is still the same."""
    more = [*unit.averaged, *unit.beside, *unit.given.files.values()]
    return fingerprint(unit.image) | ({"more": [fingerprint(path) for path in more]} if more else {})


def folder(out_dir: Path) -> Path:
    """Where the status files lie."""
    return out_dir / "logs" / "status"


def read(out_dir: Path, key: str) -> dict[str, Any]:
    """Content of a unit's status file; empty if there is none or it is damaged."""
    try:
        content = json.loads((folder(out_dir) / f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write(out_dir: Path, key: str, content: dict[str, Any]) -> None:
    """Write a unit's status file; never a partial one."""
    atomic.write_text(
        folder(out_dir) / f"{key}.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    )


def finished(out_dir: Path, unit: Unit, settings: dict[str, Any]) -> str:
    """Whether a unit's results stand: ``yes``, ``no``, or ``report`` if only the report is missing.

    They do if the last run ended well, with this version, these settings and this very image, and all
    its files are there.
    """
    content = read(out_dir, unit.key)
    if content.get("state") != "done" or content.get("version") != __version__:
        return "no"
    if content.get("inputs") != inputs_of(unit):
        return "no"
    before = content.get("settings")
    if not isinstance(before, dict) or present_names(before) != settings:
        return "no"
    outputs = content.get("outputs")
    if not isinstance(outputs, list) or not outputs:
        return "no"
    missing = [name for name in outputs if not (out_dir / str(name)).is_file()]
    if any(not name.endswith(".html") for name in missing):
        return "no"
    # A failed report, or one that the run did not come to, is no reason to compute again.
    reported = any(str(name).endswith(".html") for name in outputs)
    return "report" if missing or content.get("error") or not reported else "yes"


def _same(inputs: Any, image: Path | None) -> bool:
    """Whether an earlier status is of this very image, whatever else it was made from."""
    own = fingerprint(image)
    return isinstance(inputs, dict) and {name: inputs.get(name) for name in own} == own


def outdated(before: dict[str, Any], image: Path | None) -> list[str]:
    """Files that an earlier status lists and that were made from another image than ``image``."""
    lists = [before.get("earlier")] + [before.get("outputs")] * (not _same(before.get("inputs"), image))
    return sorted({str(name) for names in lists if isinstance(names, list) for name in names})


def remove(out_dir: Path, participant: str, names: list[str]) -> None:
    """Remove files of a participant; what lies elsewhere, whatever the list says, is left alone."""
    folder = (out_dir / f"sub-{participant}").resolve()
    for name in names:
        path = out_dir / name
        if folder in path.parent.resolve().parents and path.is_file():
            with suppress(OSError):
                path.unlink()


@contextmanager
def claim(out_dir: Path, key: str) -> Iterator[bool]:
    """Claim a unit for this process; yields False if another one has it.

    The claim is a lock on a file, so the system takes it back when the process dies, however it does.
    What another process left half written of the unit is removed.
    On file systems without locks every claim succeeds.
    """
    if fcntl is None:
        yield True
        return
    path = folder(out_dir) / f".{key}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = path.open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            yield False
            return
        except OSError:
            break
        with suppress(OSError):
            if path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                cleanup.sweep_unit(out_dir, key)
                break
        handle.close()  # its owner removed it while we waited: take the new one
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        handle.close()
