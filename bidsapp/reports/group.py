"""The group level: tables of volumes and quality of a study, incomplete participants, and overview pages.

It reads derivatives and status files only. One row is one participant-session; those that failed keep their
row, with ``n/a`` for unknown values.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...interfaces.io.dataset import SLOPPY
from ...models.errors import DatasetError, ReportError
from ...models.io.atomic import write_text
from ...models.population import labels
from .. import __version__
from . import derivatives, group_quality, label_tables, render
from .cohort import HIPPOCAMPI, Cohort, measures_of, total
from .derivatives import Result
from .group_quality import Outliers
from .outliers import ENOUGH
from .participant import write_participant
from .sections import growth, quality, study_columns, study_ratings

COLUMNS = ("brain", "total_gm", "total_wm", "lateral_ventricles")
"""Volumes in the table of the page, beside those of the hippocampi."""

YES = {"yes": "Yes", "no": "No"}

PERSON = ("age", "gestational_age", "gestational_age_estimated", "sex")
"""Columns that describe the participant."""


def run_group(out_dir: Path, group_by: str | None = None) -> Path:
    """Write the tables and pages of the study, and update the participants' pages with their rank.

    Writes ``group_volumes.tsv``, ``group_quality.tsv`` and ``group_missing.tsv`` with their
    dictionaries, ``group.html`` and ``index.html``.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    group_by : str, optional
        Column by which ``group_summary.tsv`` sums up the volumes, and the page splits.

    Returns
    -------
    Path
        ``group.html``.

    Raises
    ------
    UsageError
        If there is no such column; the other files are complete.
    DatasetError
        If the folder has no participant-session.
    ReportError
        If a page cannot be written; the other files are kept.
    """
    out_dir = Path(out_dir)
    results = derivatives.load_all(out_dir)
    if not results:
        reason = "it has neither status files nor derivatives of a participant"
        raise DatasetError(out_dir, reason, "Run the participant level first")
    people, cohort = derivatives.demographics(results), Cohort.of(results)
    outliers = Outliers(cohort, group_quality.ages(people))
    try:
        about = _about(results, people)
        _write_volumes(out_dir, results, about)
        judged = study_ratings.Judged.of(out_dir, results)
        judged.write()
        _write_quality(out_dir, results, about | judged.columns, outliers)
        _write_missing(out_dir, results)
        write_index(out_dir, results)
        path = render.write(
            out_dir / "group.html",
            "group.html.j2",
            script="group.js",
            **_context(results, people, cohort, outliers),
            group_by=group_by,
            **judged.context,
        )
    except OSError as error:
        reason = f"the group level could not be written ({error.strerror or error})"
        raise ReportError(out_dir / "group.html", reason, "Check free space and permissions") from error
    _refresh(results, cohort)
    study_columns.write_summary(out_dir, group_by, about, [result.volumes for result in results])
    return path


def write_index(out_dir: Path, results: list[Result] | None = None) -> Path:
    """Write ``index.html``: every participant-session with its status, a figure and a link to its report.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    results : list of Result, optional
        All participant-sessions; by default they are read from ``out_dir``.

    Returns
    -------
    Path
        The page.
    """
    out_dir = Path(out_dir)
    results = derivatives.load_all(out_dir) if results is None else results
    return render.write(
        out_dir / "index.html",
        "index.html.j2",
        script="group.js",
        name=_dataset_name(out_dir),
        home="",
        entries=[_entry(result) for result in results],
        counts=_counts(results),
        has_group=(out_dir / "group_volumes.tsv").is_file(),
    )


def _refresh(results: list[Result], cohort: Cohort) -> None:
    """Write the participants' pages again, with their rank among all; raise the first failure at the end."""
    failed = []
    for result in results:
        if result.state == "missing":
            continue
        try:
            write_participant(result.out_dir, result.key, cohort=cohort)
        except ReportError as error:
            failed.append(error)
    if failed:
        raise failed[0]


# -- tables ----------------------------------------------------------------------------------------


def _about(results: list[Result], people: dict[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the columns about the participant-session with their cells, without empty ones.

    A column of the study that is named like one of the results gets ``study_`` before its name.
    """
    out: dict[str, list[Any]] = {"participant_id": [f"sub-{result.participant}" for result in results]}
    if any(result.session for result in results):
        out["session_id"] = [_names(result)["session_id"] for result in results]
    persons = [_person(people[result.key]) for result in results]
    cells = {name: [person[name] for person in persons] for name in PERSON}
    out |= {name: column for name, column in cells.items() if any(column)}
    taken = {
        *_volume_columns(results),
        *group_quality.columns(results),
        *out,
        "state",
        "sloppy",
        "notes",
        *study_ratings.COLUMNS,
    }
    for name, found in study_columns.study(results).items():
        out[f"study_{name}" if name in taken else name] = [found.get(result.key) for result in results]
    out["state"] = [result.state for result in results]
    if any(result.sloppy for result in results):
        out["sloppy"] = ["yes" if result.sloppy else "no" for result in results]
    return out


def _volume_columns(results: list[Result]) -> list[str]:
    """Return the columns of volumes, without empty ones."""
    known = {name for result in results for name in result.volumes}
    ordered = [name for name in ("brain", *labels.totals()) if name in known]
    ordered += [label.name for label in label_tables.every() if label.name in known]
    return ordered + sorted(known - set(ordered))


def _write_volumes(out_dir: Path, results: list[Result], about: dict[str, list[Any]]) -> None:
    names = _volume_columns(results)
    cells = {name: [_round(result.volumes.get(name)) for result in results] for name in names}
    _write_table(out_dir / "group_volumes.tsv", about | cells, {name: _measure(name) for name in names})


def _write_quality(
    out_dir: Path, results: list[Result], about: dict[str, list[Any]], outliers: Outliers
) -> None:
    names = group_quality.columns(results)
    rows = [group_quality.row(result, outliers) for result in results]
    described = {name: group_quality.describe(name) for name in names}
    cells: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
    if any(notes := ["; ".join(derivatives.notes_of(result)) for result in results]):
        cells["notes"], described["notes"] = notes, {"Description": "What was ignored, guessed or replaced"}
    _write_table(out_dir / "group_quality.tsv", about | cells, described)


def _write_table(path: Path, cells: dict[str, list[Any]], described: dict[str, dict[str, Any]]) -> None:
    """Write columns and their dictionary; those about the participant-session are described here."""
    study = derivatives.read_json(path.with_name("participants.json"))
    _write_tsv(path, list(cells), [list(row) for row in zip(*cells.values(), strict=True)])
    _write_json(
        path.with_suffix(".json"),
        {n: described.get(n) or study_ratings.describe(n) or _describe(n, study) for n in cells},
    )


def _write_missing(out_dir: Path, results: list[Result]) -> None:
    columns = ["participant_id", "session_id", "state", "stage", "file", "reason", "remedy"]
    rows = [[(each | _names(each["result"]))[name] for name in columns] for each in _missing(results)]
    _write_tsv(out_dir / "group_missing.tsv", columns, rows)
    _write_json(out_dir / "group_missing.json", {name: _describe(name) for name in columns})


def _names(result: Result) -> dict[str, str]:
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
                "failed": "Processing failed",
                "running": "Started, not finished",
                "skipped": "Skipped",
                "missing": "Not processed",
            },
        },
        "sloppy": {"Description": f"Whether the results are coarse. {SLOPPY}", "Levels": YES},
        "stage": {"Description": "Stage that failed"},
        "file": {"Description": "File that caused the failure"},
        "reason": {"Description": "Reason of the failure, or missing files"},
        "remedy": {"Description": "How to fix it"},
    }
    known = (study or {}).get(name.removeprefix("study_"))
    own = known if isinstance(known, dict) else {"Description": f"{name}, from the source dataset"}
    return entries.get(name) or own


def _measure(name: str) -> dict[str, Any]:
    """Return the entry of a data dictionary for a volume."""
    if name == "brain":
        return {"LongName": "Brain", "Description": "Volume of the brain mask", "Units": "mm^3"}
    if total := labels.totals().get(name):
        return {"LongName": total.title, "Description": total.description, "Units": "mm^3"}
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


def _missing(results: list[Result]) -> list[dict[str, Any]]:
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


def _dataset_name(out_dir: Path) -> str:
    return str(
        derivatives.read_json(out_dir / "dataset_description.json").get("Name") or out_dir.resolve().name
    )


def _counts(results: list[Result]) -> list[tuple[str, int]]:
    found = [(state, sum(result.state == state for result in results)) for state in derivatives.STATES]
    return [(state, count) for state, count in found if count]


def _entry(result: Result) -> dict[str, Any]:
    """Return what lists show of a participant-session."""
    thumb = result.figures / f"{result.key}_desc-thumbnail_dseg.webp"
    return {
        "key": result.key,
        "name": f"sub-{result.participant}",
        "session": _names(result)["session_id"],
        "state": result.state,
        "report": result.page.name if result.state != "missing" else "",
        "thumb": thumb.relative_to(result.out_dir).as_posix() if thumb.is_file() else "",
        "qc_rating": result.qc_rating,
        "sloppy": result.sloppy,
        "words": result.error.get("reason", ""),
        "brain": result.volumes.get("brain"),
    }


def _context(
    results: list[Result], people: dict[str, dict[str, Any]], cohort: Cohort, outliers: Outliers
) -> dict[str, Any]:
    """Return everything that the template shows."""
    measures, metrics = measures_of(results), group_quality.measures(results)
    rows = []
    for result in results:
        volumes = result.volumes
        row = _entry(result) | people[result.key] | {"outliers": outliers.words(result.key)}
        row["notes"] = derivatives.notes_of(result)
        row |= {
            "distance": outliers.distance(result.key),
            "score": derivatives.number(result.quality.get("Score")),
        }
        row["metrics"] = group_quality.values(result, metrics)
        row |= {name: volumes.get(name) for name in COLUMNS}
        row["hippocampi"] = total(volumes, HIPPOCAMPI)
        rows.append(row)
    points = [
        {k: row[k] for k in ("key", "report", "age", "sex", "session", "qc_rating")}
        | {
            "values": [_round(total(cohort.volumes[row["key"]], tuple(m["parts"]))) for m in measures]
            + row["metrics"]
        }
        for row in rows
        if row["key"] in cohort
    ]
    out_dir, (splits, numbers) = results[0].out_dir, study_columns.groups_and_numbers(results)
    return {
        "name": _dataset_name(out_dir),
        "home": "index.html",
        "counts": _counts(results),
        "sloppy": sum(result.sloppy for result in results),
        "sloppy_words": SLOPPY[0].lower() + SLOPPY[1:],
        "left_out": len(derivatives.left_out(out_dir)),
        "growth": growth.section(results),
        "rows": rows,
        "missing": [row | {"entry": _entry(row["result"])} for row in _missing(results)],
        "enough": len(cohort) >= ENOUGH,
        "count": len(cohort),
        "has": {name: any(row[name] is not None for row in rows) for name in PERSON}
        | {name: any(row[name] for row in rows) for name in ("session", "qc_rating", "notes")},
        "inferred": sum(bool(result.rows) and result.facts.inferred for result in results),
        "data": {
            "measures": [*measures, *(m | {"group": "Quality", "parts": []} for m in metrics)],
            "results": points,
            "study": splits | numbers,
        },
        "splits": list(splits),
        "numbers": list(numbers),
        "no_age": sum(row["age"] is None and row["gestational_age"] is None for row in rows),
        "qc_ratings": [(v, sum(row["qc_rating"] == v for row in rows)) for v in ("pass", "check", "fail")],
        "qc_words": quality.WORDS,
        "adjusted": outliers.adjusted,
        "made_with": __version__,
    }
