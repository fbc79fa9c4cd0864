"""``brainseg-bids OUT status``: how far a study is."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...models.errors import UsageError
from ..execution.estimate import why_killed
from ..inputs.labels import natural
from ..status import claims, records, selected
from .scripts import LIST

STATES = ("done", "failed", "stopped", "killed", "running", "never begun")
"""All states, in the order of the summary."""

SHOWN = 20
"""Largest number of rows of a state that a table shows."""


@dataclass(frozen=True)
class Row:
    """State of one participant-session.

    Attributes
    ----------
    key : str
        The participant-session, or the participant where nothing has begun.
    state : str
        One of ``STATES``.
    stage, since, host, job : str
        Where and since when; empty if unknown.
    reason : str
        Why it failed, was stopped or was killed.
    """

    key: str
    state: str
    stage: str = ""
    since: str = ""
    host: str = ""
    job: str = ""
    reason: str = ""


def show(out_dir: Path, form: str = "table") -> int:
    """Print the state of all participant-sessions and return the exit code.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    form : {'table', 'tsv', 'json'}
        How it is printed.

    Raises
    ------
    UsageError
        If the folder has no results of this program.
    """
    if not (out_dir / "logs").is_dir():
        raise UsageError(
            out_dir, "there are no results of brainseg-bids", "Give the output folder of its runs"
        )
    found = rows(out_dir)
    if form == "json":
        print(json.dumps([asdict(row) for row in found], indent=2, ensure_ascii=False))
    elif form == "tsv":
        print(_tsv(found), end="")
    else:
        print(_table(found))
    return 0


def rows(out_dir: Path) -> list[Row]:
    """Return the state of all participant-sessions that runs or jobs have selected.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    """
    found = [_row(out_dir, path.stem) for path in records.folder(out_dir).glob("*.json")]
    begun = {row.key.partition("_")[0] for row in found}
    never = sorted({f"sub-{label}" for label in expected(out_dir)} - begun)
    return sorted([*found, *(Row(key, "never begun") for key in never)], key=lambda row: natural(row.key))


def expected(out_dir: Path) -> set[str]:
    """Return the labels of the participants that are or were to be processed.

    They are those in the lists of jobs, and those that runs selected: by name, or the whole dataset.
    """
    out: set[str] = set()
    for path in out_dir.glob(f"logs/jobs/*/{LIST}"):
        out |= set(path.read_text(encoding="utf-8").split())
    chosen = selected.participants(out_dir)
    if chosen is not None:
        return out | chosen
    for bids_dir in _datasets(out_dir):
        out |= {path.name.removeprefix("sub-") for path in bids_dir.glob("sub-*") if path.is_dir()}
    return out


def _datasets(out_dir: Path) -> Iterable[Path]:
    """Return the dataset of the last run, if it is there."""
    for path in sorted(out_dir.glob("logs/*/brainseg.toml"))[-1:]:
        try:
            yield Path(str(tomllib.loads(path.read_text(encoding="utf-8")).get("bids_dir")))
        except (OSError, ValueError):
            continue


def _row(out_dir: Path, key: str) -> Row:
    content = records.read(out_dir, key)
    fault = content.get("error") if isinstance(content.get("error"), dict) else {}
    common = {name: str(content.get(name) or "") for name in ("stage", "host", "job")}
    began, ended = str(content.get("started") or ""), str(content.get("finished") or "")
    state = str(content.get("state") or "failed")
    if state == "failed" and records.was_stopped(fault):
        state = "stopped"
    if state == "running":
        owner = claims.holder(out_dir, key)
        if owner is not None:
            where = {"host": owner.host or common["host"], "job": owner.job or common["job"]}
            return Row(key, "running", since=began, **common | where)
        reference = content.get("reference")
        why = why_killed(content, Path(str(reference)) if reference else None)
        reason = f"Run the same command again to continue. {why}"
        return Row(key, "killed", since=began, reason=reason, **common)
    if not content:
        return Row(key, "failed", reason="its status file cannot be read")
    return Row(key, state, since=ended or began, reason=_reason(fault or {}), **common)


def _reason(fault: dict[str, Any]) -> str:
    stage = "the report failed: " if fault.get("stage") == records.REPORT else ""
    return f"{stage}{fault.get('reason') or ''}"


def _tsv(found: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Row.__dataclass_fields__), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for row in found:
        writer.writerow({name: value or "n/a" for name, value in asdict(row).items()})
    return text.getvalue()


def _table(found: list[Row]) -> str:
    """Return a table of those that are not done, and the numbers."""
    lines = []
    for state in STATES[1:]:
        some = [row for row in found if row.state == state]
        for row in some[:SHOWN]:
            where = " ".join(word for word in (row.host, f"job {row.job}" if row.job else "") if word)
            words = [row.stage and f"at {row.stage}", row.since and f"since {row.since}", where, row.reason]
            lines.append("  ".join([f"{state:<12}{row.key}", *(word for word in words if word)]))
        if len(some) > SHOWN:
            lines.append(f"{state:<12}and {len(some) - SHOWN} more (--tsv lists all)")
    counts = [(state, sum(row.state == state for row in found)) for state in STATES]
    lines.append(f"{len(found)} in all: " + ", ".join(f"{count} {state}" for state, count in counts if count))
    return "\n".join(lines)
