"""The group level: the study's table of volumes, who is missing and why, and pages to look at all of it.

It reads derivatives and status files only. One row stands for one unit (participant, or participant and
session); units that failed keep their row, with ``n/a`` for what is not known.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...models.errors import DatasetError, ReportError
from ...models.io.atomic import write_text
from .. import __version__
from . import derivatives, group_quality, label_tables, render
from .cohort import HIPPOCAMPI, TISSUE_NAMES, Cohort, structures, total
from .derivatives import Result
from .group_quality import Unusual
from .outliers import ENOUGH
from .participant import write_participant
from .sections import growth, quality

SUMS = {
    "brain": "Volume of the brain mask",
    "gm": "Sum of the structures of cortical grey matter",
    "deepgm": "Sum of the structures of deep grey matter",
    "wm": "Sum of the structures of white matter",
    "ventricles": "Sum of the lateral ventricles and their inferior horns",
    "csf": "Sum of the other structures of cerebrospinal fluid",
}

PERSON = ("age", "gestational_age", "gestational_age_estimated", "sex")
"""Columns that describe a person."""


def run_group(out_dir: Path) -> Path:
    """Write the group's tables and pages, and the participants' pages anew, now that all can be compared.

    Writes ``group_volumes.tsv``, ``group_quality.tsv`` and ``group_missing.tsv`` with their
    dictionaries, ``group.html`` and ``index.html``.

    Parameters
    ----------
    out_dir
        The derivatives' root.

    Returns
    -------
    Path of ``group.html``.

    Raises
    ------
    DatasetError
        If there is no unit in the folder.
    ReportError
        If a page cannot be written; what could be written stands.
    """
    out_dir = Path(out_dir)
    units = derivatives.load_all(out_dir)
    if not units:
        reason = "there is neither a status file nor a derivative of any participant"
        raise DatasetError(out_dir, reason, "Run the participant level first")
    people, cohort = derivatives.demographics(units), Cohort.of(units)
    unusual = Unusual(cohort, group_quality.ages(people))
    try:
        _write_volumes(out_dir, units, people)
        _write_quality(out_dir, units, people, unusual)
        _write_missing(out_dir, units)
        write_index(out_dir, units)
        path = render.write(
            out_dir / "group.html",
            "group.html.j2",
            script="group.js",
            **_context(units, people, cohort, unusual),
        )
    except OSError as error:
        reason = f"the group level could not be written ({error.strerror or error})"
        raise ReportError(out_dir / "group.html", reason, "Check the space and the rights") from error
    _refresh(units, cohort)
    return path


def write_index(out_dir: Path, units: list[Result] | None = None) -> Path:
    """Write ``index.html``: every unit with its state and a picture, and the way to its report."""
    out_dir = Path(out_dir)
    units = derivatives.load_all(out_dir) if units is None else units
    return render.write(
        out_dir / "index.html",
        "index.html.j2",
        script="group.js",
        name=_dataset_name(out_dir),
        home="",
        units=[_entry(unit) for unit in units],
        counts=_counts(units),
        has_group=(out_dir / "group_volumes.tsv").is_file(),
    )


def _refresh(units: list[Result], cohort: Cohort) -> None:
    """Write the participants' pages again, with their place among all; failures are told at the end."""
    failed = []
    for unit in units:
        if unit.state == "missing":
            continue
        try:
            write_participant(unit.out_dir, unit.key, cohort=cohort)
        except ReportError as error:
            failed.append(error)
    if failed:
        raise failed[0]


# -- tables ----------------------------------------------------------------------------------------


def _columns(units: list[Result], people: dict[str, dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Columns that describe a unit, and columns of volumes; those that nobody fills are left out."""
    about = ["participant_id"]
    about += ["session_id"] if any(unit.session for unit in units) else []
    about += [name for name in PERSON if any(people[unit.key][name] is not None for unit in units)]
    known = {name for unit in units for name in unit.volumes}
    ordered = [name for name in SUMS if name in known]
    ordered += [label.name for label in label_tables.every() if label.name in known]
    return [*about, "state"], ordered + sorted(known - set(ordered))


def _write_volumes(out_dir: Path, units: list[Result], people: dict[str, dict[str, Any]]) -> None:
    about, names = _columns(units, people)
    rows = []
    for unit in units:
        values = _names(unit) | _person(people[unit.key]) | {"state": unit.state}
        volumes = unit.volumes
        values |= {name: _round(volumes.get(name)) for name in names}
        rows.append([values[name] for name in [*about, *names]])
    _write_tsv(out_dir / "group_volumes.tsv", [*about, *names], rows)
    _write_json(
        out_dir / "group_volumes.json", {n: _describe(n) for n in about} | {n: _measure(n) for n in names}
    )


def _write_quality(
    out_dir: Path, units: list[Result], people: dict[str, dict[str, Any]], unusual: Unusual
) -> None:
    about = _columns(units, people)[0]
    names = group_quality.columns(units)
    rows = []
    for unit in units:
        cells: dict[str, Any] = _names(unit) | _person(people[unit.key]) | {"state": unit.state}
        cells |= group_quality.row(unit, unusual)
        rows.append([cells.get(name) for name in [*about, *names]])
    _write_tsv(out_dir / "group_quality.tsv", [*about, *names], rows)
    described = {n: _describe(n) for n in about} | {n: group_quality.describe(n) for n in names}
    _write_json(out_dir / "group_quality.json", described)


def _write_missing(out_dir: Path, units: list[Result]) -> None:
    columns = ["participant_id", "session_id", "state", "stage", "file", "reason", "remedy"]
    rows = [[(each | _names(each["unit"]))[name] for name in columns] for each in _missing(units)]
    _write_tsv(out_dir / "group_missing.tsv", columns, rows)
    _write_json(out_dir / "group_missing.json", {name: _describe(name) for name in columns})


def _names(unit: Result) -> dict[str, str]:
    session = f"ses-{unit.session}" if unit.session else ""
    return {"participant_id": f"sub-{unit.participant}", "session_id": session}


def _person(person: dict[str, Any]) -> dict[str, str | None]:
    """Cells of the columns ``PERSON``."""
    cells = {name: person[name] for name in PERSON}
    ages = ("age", "gestational_age")
    cells |= {name: f"{cells[name]:g}" for name in ages if cells[name] is not None}
    estimated = person["gestational_age_estimated"]
    return cells | {"gestational_age_estimated": {True: "yes", False: "no"}.get(estimated)}


def _describe(name: str) -> dict[str, Any]:
    """Entry of a data dictionary for a column that is not a volume."""
    entries: dict[str, dict[str, Any]] = {
        "participant_id": {"Description": "Participant"},
        "session_id": {"Description": "Session; n/a without sessions"},
        "age": {"Description": "Age, from the dataset", "Units": "year"},
        "gestational_age": {"Description": "Gestational age at the scan", "Units": "week"},
        "gestational_age_estimated": {
            "Description": "Where the gestational age is from",
            "Levels": {"no": "The dataset", "yes": "An estimate from the volumes"},
        },
        "sex": {"Description": "Sex, from the dataset"},
        "state": {
            "Description": "What became of the participant (and session)",
            "Levels": {
                "done": "Processed",
                "failed": "Processing failed",
                "running": "Begun, not finished",
                "skipped": "Left out",
                "missing": "Not processed",
            },
        },
        "stage": {"Description": "Stage at which it failed"},
        "file": {"Description": "File at fault"},
        "reason": {"Description": "Why it failed or what is missing"},
        "remedy": {"Description": "What can be done"},
    }
    return entries[name]


def _measure(name: str) -> dict[str, Any]:
    """Entry of a data dictionary for a volume."""
    if name in SUMS:
        return {"LongName": TISSUE_NAMES.get(name, "Brain"), "Description": SUMS[name], "Units": "mm^3"}
    index = next((label.index for label in label_tables.every() if label.name == name), None)
    known = f", FreeSurfer label {index}" if index is not None else ""
    return {"Description": f"Volume of {name}{known}; sum of probabilities", "Units": "mm^3"}


def _write_tsv(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    def cell(value: Any) -> str:
        return " ".join(str(value).split()) if value not in (None, "") else "n/a"

    lines = ["\t".join(columns), *("\t".join(cell(value) for value in row) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


# -- page ------------------------------------------------------------------------------------------


def _missing(units: list[Result]) -> list[dict[str, Any]]:
    """Units that are not (wholly) there, with the reason."""
    out = []
    for unit in units:
        row = {
            "unit": unit,
            "state": unit.state,
            **{k: unit.error.get(k, "") for k in ("stage", "file", "reason", "remedy")},
        }
        gone = unit.missing_outputs if unit.state == "done" else []
        if gone:
            row["reason"] = f"{len(gone)} of its files are no longer there: {', '.join(gone[:3])}"
            row["remedy"] = "Run the participant level again"
        elif unit.state == "running":
            row["reason"] = row["reason"] or "It was begun and has not come to its end"
            row["remedy"] = row["remedy"] or "Wait for the run, or run the participant level again"
        elif unit.state == "missing":
            row["reason"] = "It is in the list of participants and was not processed"
            row["remedy"] = "Run the participant level"
        if unit.state != "done" or gone or unit.error:
            out.append(row)
    return out


def _dataset_name(out_dir: Path) -> str:
    return str(
        derivatives.read_json(out_dir / "dataset_description.json").get("Name") or out_dir.resolve().name
    )


def _counts(units: list[Result]) -> list[tuple[str, int]]:
    found = [(state, sum(unit.state == state for unit in units)) for state in derivatives.STATES]
    return [(state, count) for state, count in found if count]


def _entry(unit: Result) -> dict[str, Any]:
    """What a list shows of a unit."""
    thumb = unit.figures / f"{unit.key}_desc-thumbnail_dseg.webp"
    return {
        "key": unit.key,
        "name": f"sub-{unit.participant}",
        "session": _names(unit)["session_id"],
        "state": unit.state,
        "report": unit.page.name if unit.state != "missing" else "",
        "thumb": thumb.relative_to(unit.out_dir).as_posix() if thumb.is_file() else "",
        "verdict": unit.verdict,
        "words": unit.error.get("reason", ""),
        "brain": unit.volumes.get("brain"),
    }


def _measures(units: list[Result]) -> list[dict[str, Any]]:
    """What the plots offer: sums, structures of both sides together, and each side."""
    known = {name for unit in units for name in unit.volumes}
    out = [{"name": "Brain mask", "parts": ["brain"], "color": "", "group": "Whole"}]
    out += [{"name": n, "parts": [t], "color": "", "group": "Whole"} for t, n in TISSUE_NAMES.items()]
    kept = [entry for entry in structures() if all(part in known for part in entry[2])]
    out += [{"name": n, "parts": [*parts], "color": c, "group": "Structures"} for n, _, parts, c in kept]
    out += [
        {"name": part.replace("-", " "), "parts": [part], "color": color, "group": "Sides"}
        for _, _, parts, color in kept
        for part in parts
        if len(parts) == 2
    ]
    return [measure for measure in out if all(part in known for part in measure["parts"])]


def _context(
    units: list[Result], people: dict[str, dict[str, Any]], cohort: Cohort, unusual: Unusual
) -> dict[str, Any]:
    """Everything that the template shows."""
    measures, metrics = _measures(units), group_quality.measures(units)
    rows = []
    for unit in units:
        volumes = unit.volumes
        row = _entry(unit) | people[unit.key] | {"unusual": unusual.words(unit.key)}
        row |= {
            "distance": unusual.distance(unit.key),
            "score": derivatives.number(unit.quality.get("Score")),
        }
        row["metrics"] = group_quality.values(unit, metrics)
        row |= {name: volumes.get(name) for name in SUMS}
        row["grey"], row["hippocampi"] = total(volumes, ("gm", "deepgm")), total(volumes, HIPPOCAMPI)
        rows.append(row)
    points = [
        {k: row[k] for k in ("key", "report", "age", "sex", "session", "verdict")}
        | {
            "values": [_round(total(cohort.volumes[row["key"]], tuple(m["parts"]))) for m in measures]
            + row["metrics"]
        }
        for row in rows
        if row["key"] in cohort
    ]
    out_dir = units[0].out_dir
    return {
        "name": _dataset_name(out_dir),
        "home": "index.html",
        "counts": _counts(units),
        "growth": growth.section(units),
        "rows": rows,
        "missing": [row | {"entry": _entry(row["unit"])} for row in _missing(units)],
        "enough": len(cohort) >= ENOUGH,
        "count": len(cohort),
        "has": {name: any(row[name] is not None for row in rows) for name in PERSON}
        | {"session": any(row["session"] for row in rows), "verdict": any(row["verdict"] for row in rows)},
        "data": {
            "measures": [*measures, *(m | {"group": "Quality", "parts": []} for m in metrics)],
            "units": points,
        },
        "verdicts": [(v, sum(row["verdict"] == v for row in rows)) for v in ("pass", "check", "fail")],
        "verdict_words": quality.WORDS,
        "adjusted": unusual.adjusted,
        "made_with": __version__,
    }
