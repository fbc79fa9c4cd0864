"""Tables of a study: volumes, quality, and participant-sessions that are incomplete, with their dictionaries.

One row is one participant-session; those that failed keep their row, with ``n/a`` for unknown values.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from ....interfaces.io.dataset import SLOPPY
from ....models.io.atomic import write_text
from ....models.population import labels
from ...status import arithmetic
from .. import derivatives, group_quality, label_tables
from ..derivatives import Result
from ..group_quality import Outliers
from ..sections import skullstrip, study_columns, study_ratings

YES = {"yes": "Yes", "no": "No"}

PERSON = ("age", "gestational_age", "gestational_age_estimated", "sex")
"""Columns that describe the participant."""


def columns_about(results: list[Result], people: dict[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the columns about the participant-session with their cells, without empty ones.

    A column of the study that is named like one of the results gets ``study_`` before its name.
    """
    out: dict[str, list[Any]] = {"participant_id": [f"sub-{result.participant}" for result in results]}
    if any(result.session for result in results):
        out["session_id"] = [names_of(result)["session_id"] for result in results]
    persons = [_person(people[result.key]) for result in results]
    cells = {name: [person[name] for person in persons] for name in PERSON}
    out |= {name: column for name, column in cells.items() if any(column)}
    taken = {
        *volume_columns(results),
        *group_quality.columns(results),
        *out,
        "state",
        "sloppy",
        "arithmetic",
        "mask_source",
        "notes",
        *study_ratings.COLUMNS,
    }
    for name, found in study_columns.study(results).items():
        out[f"study_{name}" if name in taken else name] = [found.get(result.key) for result in results]
    out["state"] = [result.state for result in results]
    if any(result.sloppy for result in results):
        out["sloppy"] = ["yes" if result.sloppy else "no" for result in results]
    out |= skullstrip.column(results)
    if len(arithmetics(results)) > 1:
        out["arithmetic"] = [arithmetic.words(result.status) for result in results]
    return out


def arithmetics(results: list[Result]) -> list[tuple[str, int]]:
    """Return the kinds of arithmetic that results were computed with, and their numbers, the most first."""
    done = [result for result in results if result.state == "done"]
    return Counter(filter(None, (arithmetic.words(result.status) for result in done))).most_common()


def volume_columns(results: list[Result]) -> list[str]:
    """Return the columns of volumes, without empty ones."""
    known = {name for result in results for name in result.volumes}
    ordered = [name for name in ("brain", "intracranial", *labels.totals()) if name in known]
    ordered += [label.name for label in label_tables.every() if label.name in known]
    return ordered + sorted(known - set(ordered))


def write_volumes(out_dir: Path, results: list[Result], about: dict[str, list[Any]]) -> None:
    """Write ``group_volumes.tsv``."""
    names = volume_columns(results)
    cells = {name: [rounded(result.volumes.get(name)) for result in results] for name in names}
    write_table(out_dir / "group_volumes.tsv", about | cells, {name: _measure(name) for name in names})


def write_intervals(out_dir: Path, results: list[Result], about: dict[str, list[Any]]) -> None:
    """Write ``group_intervals.tsv``, the ends of the structures' volumes; without any of them remove it."""
    path = out_dir / "group_intervals.tsv"
    known = [label.name for label in label_tables.every() if any(label.name in r.intervals for r in results)]
    if not known:
        remove(path)
        return
    cells: dict[str, list[Any]] = {}
    described: dict[str, dict[str, Any]] = {}
    for name in known:
        for place, end in enumerate(("low", "high")):
            column = f"{name}_{end}"
            cells[column] = [
                rounded(r.intervals[name][place]) if name in r.intervals else None for r in results
            ]
            words = f"{'Upper' if place else 'Lower'} end of the 95 % interval of the volume of {name}"
            described[column] = {"Description": words, "Units": "mm^3"}
    write_table(path, about | cells, described)


def write_quality(
    out_dir: Path, results: list[Result], about: dict[str, list[Any]], outliers: Outliers
) -> None:
    """Write ``group_quality.tsv``."""
    names = group_quality.columns(results)
    rows = [group_quality.row(result, outliers) for result in results]
    described = {name: group_quality.describe(name) for name in names}
    cells: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
    if any(notes := ["; ".join(derivatives.notes_of(result)) for result in results]):
        cells["notes"], described["notes"] = notes, {"Description": "What was ignored, guessed or replaced"}
    write_table(out_dir / "group_quality.tsv", about | cells, described)


def write_table(path: Path, cells: dict[str, list[Any]], described: dict[str, dict[str, Any]]) -> None:
    """Write columns and their dictionary; those about the participant-session are described here.

    Parameters
    ----------
    path : Path
        TSV file.
    cells : dict of str to list
        Columns by name.
    described : dict of str to dict
        Entries of the dictionary for the columns that are results.
    """
    study = derivatives.read_json(path.with_name("participants.json"))
    _write_tsv(path, list(cells), [list(row) for row in zip(*cells.values(), strict=True)])
    _write_json(
        path.with_suffix(".json"),
        {n: described.get(n) or study_ratings.describe(n) or _describe(n, study) for n in cells},
    )


def remove(path: Path) -> None:
    """Remove a table of an earlier run and its dictionary."""
    path.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)


def write_missing(out_dir: Path, results: list[Result]) -> None:
    """Write ``group_missing.tsv``."""
    columns = ["participant_id", "session_id", "state", "stage", "file", "reason", "remedy"]
    rows = [[(each | names_of(each["result"]))[name] for name in columns] for each in missing(results)]
    _write_tsv(out_dir / "group_missing.tsv", columns, rows)
    _write_json(out_dir / "group_missing.json", {name: _describe(name) for name in columns})


def names_of(result: Result) -> dict[str, str]:
    """Return the cells that name a participant-session."""
    session = f"ses-{result.session}" if result.session else ""
    return {"participant_id": f"sub-{result.participant}", "session_id": session}


def _person(person: dict[str, Any]) -> dict[str, str | None]:
    """Return the cells of the columns ``PERSON``."""
    cells = {name: person[name] for name in PERSON}
    ages = ("age", "gestational_age")
    cells |= {name: f"{cells[name]:g}" for name in ages if cells[name] is not None}
    estimated = person["gestational_age_estimated"]
    return cells | {"gestational_age_estimated": {True: "yes", False: "no"}.get(estimated)}


def _describe(name: str, study: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the entry of a data dictionary for a column that is no result; the study has its own."""
    entries: dict[str, dict[str, Any]] = {
        "participant_id": {"Description": "Participant"},
        "session_id": {"Description": "Session; n/a without sessions"},
        "age": {"Description": "Age, from the dataset", "Units": "year"},
        "gestational_age": {"Description": "Gestational age at the scan", "Units": "week"},
        "gestational_age_estimated": {
            "Description": "Whether the gestational age is estimated",
            "Levels": {"no": "From the dataset", "yes": "Estimated from the volumes"},
        },
        "sex": {"Description": "Sex, from the dataset"},
        "state": {
            "Description": "Status of the participant-session",
            "Levels": {
                "done": "Processed",
                "failed": "Processing failed, or was stopped",
                "running": "Started, not finished",
                "skipped": "Skipped",
                "missing": "Not processed",
            },
        },
        "sloppy": {"Description": f"Whether the results are coarse. {SLOPPY}", "Levels": YES},
        "mask_source": skullstrip.COLUMN,
        "arithmetic": {
            "Description": "Precision of the networks and instructions of the processor; results that differ "
            "in it differ in small details (see --reproducible)"
        },
        "stage": {"Description": "Stage that failed"},
        "file": {"Description": "File that caused the failure"},
        "reason": {"Description": "Reason of the failure or stop, or missing files"},
        "remedy": {"Description": "How to fix it"},
    }
    known = (study or {}).get(name.removeprefix("study_"))
    own = known if isinstance(known, dict) else {"Description": f"{name}, from the source dataset"}
    return entries.get(name) or own


def _measure(name: str) -> dict[str, Any]:
    """Return the entry of a data dictionary for a volume."""
    if name == "brain":
        return {"LongName": "Brain mask", "Description": "Volume of the brain mask", "Units": "mm^3"}
    if name == "intracranial":
        words = "Volume of everything inside the skull; n/a without a skull in the image, without a network, "
        words += "or where the field of view does not cover the head"
        return {"LongName": "Intracranial volume", "Description": words, "Units": "mm^3"}
    if total := labels.totals().get(name):
        return {"LongName": total.title, "Description": total.description, "Units": "mm^3"}
    label = next((label for label in label_tables.every() if label.name == name), None)
    known = f", FreeSurfer label {label.index}" if label is not None else ""
    words = f"Volume of {name}{known}; sum of probabilities"
    if label is not None and label.total == "outer_csf":
        words += ". Without the ventricles, which total_csf includes"
    return {"Description": words, "Units": "mm^3"}


def _write_tsv(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    def cell(value: Any) -> str:
        return " ".join(str(value).split()) if value not in (None, "") else "n/a"

    lines = ["\t".join(columns), *("\t".join(cell(value) for value in row) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def rounded(value: float | None) -> float | None:
    """Return a volume (mm3) as in the tables."""
    return None if value is None else round(value, 2)


def missing(results: list[Result]) -> list[dict[str, Any]]:
    """Return participant-sessions that are incomplete, with the reason."""
    out = []
    for result in results:
        row = {
            "result": result,
            "state": result.state,
            **{k: result.error.get(k, "") for k in ("stage", "file", "reason", "remedy")},
        }
        gone = result.missing_outputs if result.state == "done" else []
        if gone:
            row["reason"] = f"{len(gone)} of its outputs are missing: {', '.join(gone[:3])}"
            row["remedy"] = "Run the participant level again"
        elif result.state == "running":
            row["reason"] = row["reason"] or "Processing started and did not finish"
            row["remedy"] = row["remedy"] or "Wait for the run, or run the participant level again"
        elif result.state == "missing":
            row["reason"] = "It is in participants.tsv, but was not processed"
            row["remedy"] = "Run the participant level"
        if result.state != "done" or gone or result.error:
            out.append(row)
    return out
