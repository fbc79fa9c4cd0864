"""The group level: tables of volumes and quality of a study, incomplete participants, and overview pages.

It reads derivatives and status files only. One row is one participant-session; those that failed keep their
row, with ``n/a`` for unknown values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...interfaces.io.dataset import SLOPPY
from ...models.errors import DatasetError, ReportError
from .. import __version__
from . import derivatives, group_quality, render
from .cohort import HIPPOCAMPI, Cohort, measures_of, total
from .derivatives import Result
from .group_quality import Outliers
from .outliers import ENOUGH
from .sections import growth, quality, skullstrip, study_columns, study_ratings
from .study import pages as study_pages
from .study import parcels, tables, vbm, volume_forms

COLUMNS = {
    "brain": "Brain mask",
    "total_gm": "Gray matter",
    "total_wm": "White matter",
    "lateral_ventricles": "Lat. ventricles",
}
"""Volumes in the table of the page with their titles, beside those of the hippocampi."""


NAMED = tuple(f"group_{name}.tsv" for name in ("volumes", "intervals", "quality", "exclusions", "missing"))
"""Tables that the page names first; others, such as those of atlases, follow."""


def run_group(out_dir: Path, group_by: str | None = None, *, pages: bool = True, processes: int = 1) -> Path:
    """Write the tables and pages of the study, and update the participants' pages with their rank.

    Writes the tables of the study (``group_*.tsv``) with their dictionaries, ``group.html`` and
    ``index.html``.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    group_by : str, optional
        Column by which ``group_summary.tsv`` sums up the volumes, and the page splits.
    pages : bool
        Whether to write pages; without, only tables are written.
    processes : int
        Processes that write the participants' pages.

    Returns
    -------
    Path
        ``group.html``, or ``group_volumes.tsv`` without pages.

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
        about = tables.columns_about(results, people)
        tables.write_volumes(out_dir, results, about)
        tables.write_intervals(out_dir, results, about)
        volume_forms.write(out_dir, results, about)
        judged = study_ratings.Judged.of(out_dir, results)
        judged.write()
        tables.write_quality(out_dir, results, about | judged.columns, outliers)
        tables.write_missing(out_dir, results)
        parcels.write(out_dir, results, about)
        vbm.write(out_dir, results)
        path = out_dir / "group_volumes.tsv"
        if pages:
            write_index(out_dir, results)
            path = _write_page(out_dir, results, group_by, judged, people, cohort, outliers)
    except OSError as error:
        reason = f"the group level could not be written ({error.strerror or error})"
        raise ReportError(out_dir / "group.html", reason, "Check free space and permissions") from error
    if pages:
        study_pages.write(out_dir, results, cohort, processes)
    study_columns.write_summary(out_dir, group_by, about, [result.volumes for result in results])
    return path


def check_column(out_dir: Path, bids_dir: Path, group_by: str) -> None:
    """Check that there is a column to sum up by; nothing is written.

    Parameters
    ----------
    out_dir, bids_dir : Path
        Root of the derivatives, and the dataset, whose table may have got further columns.
    group_by : str
        Name of the column.

    Raises
    ------
    UsageError
        If there is no such column.
    """
    results = derivatives.load_all(out_dir)
    if results:
        about = tables.columns_about(results, derivatives.demographics(results))
        rows = derivatives.read_tsv(bids_dir / "participants.tsv")
        study_columns.check(out_dir, group_by, dict.fromkeys([*about, *(rows[0] if rows else ())]))


def _write_page(
    out_dir: Path, results: list[Result], group_by: str | None, judged: study_ratings.Judged, *found: Any
) -> Path:
    """Write ``group.html``; ``found`` are the people, their cohort and its outliers."""
    context = _context(results, *found) | judged.context
    context["more"] = sorted(p.name for p in out_dir.glob("group_*.tsv") if p.name not in NAMED)
    path = out_dir / "group.html"
    return render.write(path, "group.html.j2", script="group.js", **context, group_by=group_by)


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


# -- page ------------------------------------------------------------------------------------------


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
        "session": tables.names_of(result)["session_id"],
        "state": result.state,
        "report": result.page.name if result.state != "missing" else "",
        "thumb": thumb.relative_to(result.out_dir).as_posix() if thumb.is_file() else "",
        "qc_rating": result.qc_rating,
        "sloppy": result.sloppy,
        "words": result.error.get("reason", ""),
        "brain": result.volumes.get("brain"),
    }


def _counted(results: list[Result], cohort: Cohort) -> dict[str, int]:
    """Return the numbers of participant-sessions and of participants with volumes."""
    people = {result.participant for result in results if result.key in cohort}
    return {"count": len(cohort), "people": len(people)}


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
            "values": [tables.rounded(total(cohort.volumes[row["key"]], tuple(m["parts"]))) for m in measures]
            + row["metrics"]
        }
        for row in rows
        if row["key"] in cohort
    ]
    out_dir, (splits, numbers) = results[0].out_dir, study_columns.groups_and_numbers(results)
    splits |= skullstrip.split(results)
    return {
        "name": _dataset_name(out_dir),
        "home": "index.html",
        "counts": _counts(results),
        "sloppy": sum(result.sloppy for result in results),
        "sloppy_words": SLOPPY[0].lower() + SLOPPY[1:],
        "arithmetics": found if len(found := tables.arithmetics(results)) > 1 else [],
        "left_out": len(derivatives.left_out(out_dir)),
        "mask_sources": skullstrip.words(results),
        "growth": growth.section(results),
        "rows": rows,
        "missing": [row | {"entry": _entry(row["result"])} for row in tables.missing(results)],
        "enough": len(cohort) >= ENOUGH,
        **_counted(results, cohort),
        "has": {"intervals": any(result.intervals for result in results)} | _columns_with_values(rows),
        "volumes": _volumes_with_values(rows),
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


def _columns_with_values(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Return for each optional column of the table whether any row has a value."""
    found = {name: any(row[name] is not None for row in rows) for name in (*tables.PERSON, "score")}
    return found | {name: any(row[name] for row in rows) for name in ("session", "qc_rating", "notes")}


def _volumes_with_values(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return names and titles of the volumes in the table that any row has."""
    titles = COLUMNS | {"hippocampi": "Hippocampi"}
    return [(name, titles[name]) for name in titles if any(row[name] is not None for row in rows)]
