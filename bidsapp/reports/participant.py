"""The participant's report: one page that shows how an image was processed, from the derivatives alone."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from ...interfaces.io.dataset import SLOPPY
from ...models.errors import ReportError
from ...models.io import outputs
from ...models.segmentation.result import EXTENT, source_words
from ..status import records
from ..status.facts import DEFAULT
from . import colors, derivatives, drawing, provenance, render
from .cohort import Cohort, groups_of, tiles_of
from .derivatives import PREPROC, VOLUMES, Result
from .sections import coregistration, growth, hippocampus, lesion, own, parcels, quality, registration

SECTIONS = {
    "summary": "Summary",
    "mask": "Mask",
    "bias": "Bias",
    "segmentation": "Segmentation",
    "tissues": "Tissues",
    "own": "Your labels",
    "lesion": "Lesions",
    "hippocampus": "Hippocampus",
    "parcels": "Parcels",
    "contrasts": "Contrasts",
    "alignment": "Registration",
    "quality": "Quality",
    "volumes": "Volumes",
    "methods": "Methods",
    "software": "Software",
}
INFERRED = (
    "Population, label table and age were inferred from the derivatives: the status file, of an earlier "
    "version, does not have them."
)
MOST_RANKED = 100
"""Participant-sessions that a page written alone is compared with; the group level has no limit."""

PLOT_WIDTH, PLOT_HEIGHT, CURVE_HEIGHT = 620, 132, 112
"""Size of the histogram of intensities, and height of its highest curve (pixels)."""


def write_participant(out_dir: Path, key: str, *, cohort: Cohort | None = None) -> Path:
    """Write the report of a participant-session from the derivatives in the output folder.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    key : str
        ``sub-01`` or ``sub-01_ses-02``.
    cohort : Cohort, optional
        Volumes of all participant-sessions; by default they are read from ``out_dir`` if they are few.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ReportError
        If the page cannot be written.
    """
    try:
        result = derivatives.load(Path(out_dir), key)
    except ValueError as error:
        remedy = "Use sub-LABEL or sub-LABEL_ses-LABEL of a participant in the output folder"
        raise ReportError(out_dir, str(error), remedy) from None
    try:
        path = write_page(result, _few(result.out_dir) if cohort is None else cohort)
        quality.write_list(result.out_dir)
    except OSError as error:
        reason = f"the report could not be written ({error.strerror or error})"
        remedy = "Check free space and permissions, then use --reports-only"
        raise ReportError(result.page, reason, remedy) from error
    return path


def write_page(result: Result, cohort: Cohort) -> Path:
    """Write the report of a participant-session, without the list of reports; returns the page.

    Parameters
    ----------
    result : Result
        The participant-session.
    cohort : Cohort
        Volumes of all participant-sessions.
    """
    context = _context(result, drawing.draw(result), cohort)
    return render.write(result.page, "report.html.j2", script="report.js", **context)


def _few(out_dir: Path) -> Cohort:
    """Return the volumes of all participant-sessions if they are few; of many the group level ranks."""
    found = sorted(derivatives.keys(out_dir))
    return Cohort.of([derivatives.load(out_dir, key) for key in (found if len(found) <= MOST_RANKED else ())])


def _context(result: Result, facts: dict[str, Any], cohort: Cohort) -> dict[str, Any]:
    """Return everything that the template shows."""
    groups, rating = groups_of(result, cohort), quality.context(result)
    shown = {*facts["figures"], *facts["problems"], "summary", "methods", "software"}
    shown |= {name for name, there in (("volumes", groups), ("quality", rating["qc_rating"])) if there}
    return {
        "sections": [(name, label) for name, label in SECTIONS.items() if name in shown],
        "figures": defaultdict(dict, facts["figures"]),
        "folder": f"sub-{result.participant}/figures",
        "pack": facts.get("pack", ""),
        "problems": facts["problems"],
        "quality": rating,
        "groups": groups,
        "intervals": bool(result.intervals),
        "usual": any(row["norm"] for group in groups for row in group["rows"]),
        "intracranial": "intracranial" in result.volumes,
        "tiles": tiles_of(result, cohort),
        "cohort_words": _cohort_words(result, cohort),
        "cohort_size": len(cohort),
        "growth": growth.section([result]),
        **_summary(result, facts),
        **_error(result),
        **_segmentation(result, facts),
        **_stages(result, facts),
        **_provenance(result),
    }


def _summary(result: Result, facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the head of the page shows."""
    image = result.facts.reference or (result.prefix and f"{result.prefix}_{result.suffix}")
    session = f" · ses-{result.session}" if result.session else ""
    pages = [name for name in ("index.html", "group.html") if (result.out_dir / name).is_file()]
    return {
        "name": f"sub-{result.participant}{session}",
        "key": result.key,
        "participant": f"sub-{result.participant}",
        "session": result.session,
        "state": result.state,
        "sloppy": SLOPPY if result.sloppy else "",
        "home": pages[0] if pages else "",
        "reports": quality.REPORTS,
        "lead": _in_dataset(image),
        "facts": _facts(result, facts),
        "notes": _notes(result),
        "suffix": result.suffix,
        "others": [_in_dataset(other) for other in derivatives.texts(result.status.get("left_out"))],
    }


def _error(result: Result) -> dict[str, Any]:
    """Return what the page shows of a failure."""
    unfinished = {"reason": _unfinished(result)} if result.state in ("running", "missing") else {}
    return {
        "error": result.error or unfinished,
        "error_words": _error_words(result),
        "crash": provenance.crash(result),
        "again": provenance.command(result),
    }


def _segmentation(result: Result, facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the page shows of structures and tissues."""
    volumes = [derivatives.number(row.get("volume_mm3")) or 0 for row in result.rows.values()]
    return {
        "structure_count": sum(volume > 0 for volume in volumes),
        "freesurfer": result.facts.label_table == "adult",
        "legend": _legend(result),
        "tissues": colors.tissues(),
        "labels": _viewer_labels(result),
        "histogram": _histogram(facts.get("histograms", {})),
    }


def _stages(result: Result, facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the page shows of the other stages."""
    space = registration.space_of(result)
    transform = outputs.ending("transform", suffix="*", space=space.label if space else "")
    return {
        "mask_words": _mask_words(facts, _stripped(result), result.mask_source),
        "bias_range": facts.get("bias_range"),
        "bias_scale": facts.get("bias_scale"),
        "hippocampus": hippocampus.rows(result),
        "lesion": lesion.context(result),
        "own": own.context(result),
        "parcels": parcels.rows(result),
        "contrasts": coregistration.rows(result, facts["figures"].get("contrasts", {})),
        "space": str(space or ""),
        "dice": facts.get("dice"),
        "residual": derivatives.number(result.sidecar(transform).get("MedianResidual")),
        "colors": {"mask": colors.MASK, "template": colors.TEMPLATE, "grid": colors.GRID},
    }


def _provenance(result: Result) -> dict[str, Any]:
    """Return what the page shows of methods and software."""
    return {
        "methods": provenance.methods(result.out_dir),
        "planned": _planned(result),
        "run": provenance.run(result),
        "seconds": provenance.seconds(result),
        "versions": provenance.versions(),
        "cards": provenance.cards(result),
    }


def _in_dataset(path: Any) -> str:
    """Return the part of a path below the root of the dataset."""
    text = str(path or "")
    found = re.search(r"(?:^|.*/)(sub-[^/]+/.*)$", text)
    return found[1] if found else text


def _error_words(result: Result) -> str:
    stage = result.error.get("stage") or result.error.get("node")
    if result.state == "failed":
        words = "Stopped" if records.was_stopped(result.error) else "Failed"
        return f"{words} at {stage}" if stage else words
    if result.error:
        return f"The results are complete, but {stage or 'a later stage'} failed"
    return render.STATE_WORDS[result.state]


def _planned(result: Result) -> str:
    """Return that the methods text is a plan, for a participant-session that failed; else empty."""
    if result.state != "failed":
        return ""
    stage = result.error.get("stage") or result.error.get("node") or "an unknown stage"
    ended = "was stopped" if records.was_stopped(result.error) else "failed"
    words = f"The text describes the planned processing. It was not all done: this participant {ended} at"
    return f"{words} {stage}."


def _unfinished(result: Result) -> str:
    if result.state == "missing":
        return "There are no derivatives and no status file: it was not processed."
    return "Processing started and did not finish: it is still running, or was interrupted."


def _stripped(result: Result) -> bool | None:
    """Return whether the input was skull-stripped already; None if unknown."""
    if result.file(outputs.ending("mask")) is None:
        return None
    value = result.sidecar(PREPROC).get("SkullStripped", result.status.get("stripped"))
    return value if isinstance(value, bool) else None


def _notes(result: Result) -> list[str]:
    found = derivatives.notes_of(result)
    if result.rows and result.facts.inferred:
        found.append(INFERRED)
    if result.state == "done" and result.missing_outputs:
        found.append("Outputs are missing: " + ", ".join(result.missing_outputs))
    return list(dict.fromkeys(found))


def _facts(result: Result, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return terms and texts about image and participant; those without a text are left out."""
    person = derivatives.demographics([result])[result.key]
    voxel = " × ".join(f"{x:.4g}" for x in facts.get("voxel", []))
    skull: dict[bool | None, str] = {True: "removed before (input)", False: "removed here"}
    rows = [
        ("Contrast", result.suffix),
        ("Grid", " × ".join(str(n) for n in facts.get("shape", []))),
        ("Voxel size", f"{voxel} mm" if voxel else ""),
        ("Orientation", _orientation(facts)),
        ("Skull", skull.get(_stripped(result), "")),
        ("Brain mask", f"{facts['mask_volume'] / 1000:,.0f} mL" if facts.get("mask_volume") else ""),
        ("Intracranial volume", _intracranial(result)),
        ("Source of the mask", source_words(result.mask_source) if result.mask_source else ""),
        *coregistration.facts(result),
        ("Population", _population(result, person) if result.rows else ""),
        _age(person),
        ("Sex", person["sex"] or ""),
        ("Version", str(result.status.get("version") or "")),
    ]
    return [row for row in rows if row[1]]


def _intracranial(result: Result) -> str:
    """Return the intracranial volume, or why there is none; empty for results of earlier versions."""
    if volume := result.volumes.get("intracranial"):
        return f"{volume / 1000:,.0f} mL"
    found = result.sidecar(VOLUMES).get("IntracranialVolume")
    reason = found.get("Reason") if isinstance(found, dict) else ""
    return f"n/a: {reason}" if reason else ""


def _population(result: Result, person: dict[str, Any]) -> str:
    """Return the population, and that it was assumed where no age is known."""
    found = result.facts.population
    unknown = person["age"] is None and person["gestational_age"] is None
    assumed = found == DEFAULT and unknown and _wanted(result) == "auto"
    return f"{found} (assumed: no age is known)" if assumed else found


def _wanted(result: Result) -> str:
    """Return the population that was asked for; empty if the status file does not say it."""
    settings = result.status.get("settings")
    return str(settings.get("population", "")) if isinstance(settings, dict) else ""


def _age(person: dict[str, Any]) -> tuple[str, str]:
    """Return name and text of the age, which before birth is gestational."""
    weeks = person["gestational_age"]
    if weeks is not None:
        return "Gestational age", f"{weeks:.3g} weeks" + (
            " (estimated)" if person["gestational_age_estimated"] else ""
        )
    return "Age", f"{person['age']:g} years" if person["age"] is not None else ""


def _orientation(facts: dict[str, Any]) -> str:
    tilt = facts.get("tilt", 0)
    words = f", oblique (tilted by {tilt:.0f}° against the scanner's axes)" if tilt >= 1 else ""
    return facts["orientation"] + words if facts.get("orientation") else ""


def _mask_words(facts: dict[str, Any], stripped: bool | None, source: str) -> str:
    size = f"{facts['mask_volume'] / 1000:,.0f} mL. " if facts.get("mask_volume") else ""
    if source and source != EXTENT:
        size += f"Source of the mask: {source_words(source)}. "
    if stripped:
        return size + "The input was skull-stripped already; the mask lies within its foreground."
    return size + "Drawn over the bias-corrected image."


def _legend(result: Result) -> list[dict[str, Any]]:
    """Return the structures in the order of the label table, left and right next to each other."""
    table, seen, out = result.table, set(), []
    for label in table:
        for index in (label.index, label.partner):
            if index in result.rows and index in table.by_index and index not in seen:
                seen.add(index)
                found = table[index]
                out.append({"index": index, "name": found.name.replace("-", " "), "color": found.color})
    return out


def _viewer_labels(result: Result) -> dict[str, Any]:
    """Return names and colors for the viewer: structures by position, tissues by dseg value, the mask."""
    structures = [
        {
            "index": label.index,
            "name": label.name.replace("-", " "),
            "color": label.color,
            "volume": result.volumes.get(label.name),
        }
        for label in result.table
    ]
    tissues = [{"name": label.name.capitalize(), "color": label.color} for label in colors.tissues()]
    return {"structures": structures, "tissues": [None, *tissues], "mask": colors.MASK}


def _cohort_words(result: Result, cohort: Cohort) -> str:
    count = len(cohort)
    if not count and result.volumes:
        return f"With more than {MOST_RANKED} participants the group level writes the ranks."
    if result.key not in cohort or count < 2:
        return "The output folder has no other participant to compare with yet."
    return f"The last column gives the rank among n = {count} in the output folder at the time of this page."


def _histogram(histograms: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return curves of intensity by tissue as SVG paths."""
    peak = max((max(values) for values in histograms.values() if values), default=0)
    curves = []
    for tissue in colors.tissues():
        values = histograms.get(str(tissue.index))
        if not values or not peak:
            continue
        step = PLOT_WIDTH / (len(values) - 1)
        points = [
            (round(i * step, 1), round(PLOT_HEIGHT - CURVE_HEIGHT * v / peak, 1))
            for i, v in enumerate(values)
        ]
        top = min(points, key=lambda point: point[1])
        lines = " ".join(f"L{x},{y}" for x, y in points)
        curves.append(
            {
                "name": tissue.abbreviation,
                "color": tissue.color,
                "path": f"M0,{PLOT_HEIGHT} {lines} L{PLOT_WIDTH},{PLOT_HEIGHT}Z",
                "x": min(max(top[0], 40), PLOT_WIDTH - 40),
                "y": max(top[1] - 5, 11),
            }
        )
    return curves
