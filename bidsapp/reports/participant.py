"""The participant's report: one page that shows what was done with an image, from the derivatives alone."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from ...models.errors import ReportError
from ..status.facts import facts_of
from . import derivatives, provenance, render
from .cohort import Cohort, groups_of, tiles_of
from .derivatives import Result
from .sections import coregistration, growth, hippocampus, lesion, quality, registration

HISTOGRAM_COLORS = {"grey matter": "#e66172", "white matter": "#8a94a0", "CSF": "#3f86e0"}
SECTIONS = {
    "summary": "Summary",
    "quality": "Quality",
    "mask": "Mask",
    "bias": "Bias",
    "segmentation": "Segmentation",
    "tissues": "Tissues",
    "lesion": "Lesions",
    "hippocampus": "Hippocampus",
    "contrasts": "Contrasts",
    "alignment": "Alignment",
    "volumes": "Volumes",
    "methods": "Methods",
    "software": "Software",
}


def write_participant(out_dir: Path, key: str, *, cohort: Cohort | None = None) -> Path:
    """Write the report of a participant (and session) from what lies in the output folder.

    Parameters
    ----------
    out_dir
        The derivatives' root.
    key
        ``sub-01`` or ``sub-01_ses-02``.
    cohort
        Volumes of every unit; read from ``out_dir`` by default.

    Returns
    -------
    Path of the page.

    Raises
    ------
    ReportError
        If it cannot be written.
    """
    from . import drawing as pictures

    try:
        result = derivatives.load(Path(out_dir), key)
    except ValueError as error:
        raise ReportError(out_dir, str(error), "Give the name of a unit") from None
    cohort = cohort or Cohort.of(derivatives.load_all(result.out_dir))
    try:
        context = _context(result, pictures.draw(result), cohort)
        path = render.write(result.page, "report.html.j2", script="report.js", **context)
        quality.write_list(result.out_dir)
    except OSError as error:
        reason = f"the report could not be written ({error.strerror or error})"
        raise ReportError(
            result.page, reason, "Check the space and the rights, then use --reports-only"
        ) from error
    return path


def _context(result: Result, facts: dict[str, Any], cohort: Cohort) -> dict[str, Any]:
    """Everything that the template shows."""
    pictures = defaultdict(dict, facts["pictures"])
    groups, found = groups_of(result, cohort), quality.context(result)
    shown = {
        *pictures,
        *facts["problems"],
        "summary",
        "methods",
        "software",
        *(["volumes"] if groups else []),
        *(["quality"] if found["verdict"] else []),
    }
    stripped = _stripped(result)
    space = registration.space_of(result)
    transform = f"from-*_to-{space.label if space else ''}_mode-image_xfm.h5"
    return {
        "name": _title(result),
        "key": result.key,
        "participant": f"sub-{result.participant}",
        "quality": found,
        "reports": quality.REPORTS,
        "session": result.session,
        "state": result.state,
        "home": next((n for n in ("index.html", "group.html") if (result.out_dir / n).is_file()), ""),
        "sections": [(name, label) for name, label in SECTIONS.items() if name in shown],
        "lead": _short(
            facts_of(result.status).reference or (result.prefix and f"{result.prefix}_{result.suffix}")
        ),
        "error": result.error
        or ({"reason": _unfinished(result)} if result.state in ("running", "missing") else {}),
        "error_words": _error_words(result),
        "crash": provenance.crash(result),
        "again": provenance.command(result),
        "figures": f"sub-{result.participant}/figures",
        "pictures": pictures,
        "problems": facts["problems"],
        "facts": _facts(result, facts, stripped),
        "tiles": tiles_of(result, cohort),
        "notes": _notes(result),
        "suffix": result.suffix,
        "hippocampus": hippocampus.rows(result),
        "lesion": lesion.context(result),
        "contrasts": coregistration.rows(result, pictures["contrasts"]),
        "others": [_short(other) for other in derivatives.texts(result.status.get("others"))],
        "mask_words": _mask_words(facts, stripped),
        "bias_range": facts.get("bias_range"),
        "bias_scale": facts.get("bias_scale"),
        "structure_count": sum(
            (derivatives.number(row.get("volume_mm3")) or 0) > 0 for row in result.rows.values()
        ),
        "legend": _legend(result),
        "labels": _viewer_labels(result),
        "histogram": _histogram(facts.get("histograms", {})),
        "space": str(space or ""),
        "dice": facts.get("dice"),
        "residual": derivatives.number(result.sidecar(transform).get("MedianResidual")),
        "groups": groups,
        "cohort_words": _cohort_words(result, cohort),
        "cohort_size": len(cohort),
        "methods": provenance.methods(result.out_dir),
        "run": provenance.run(result),
        "seconds": provenance.seconds(result),
        "versions": provenance.versions(),
        "cards": provenance.cards(),
        "growth": growth.section([result]),
    }


def _title(result: Result) -> str:
    return f"sub-{result.participant}" + (f" · ses-{result.session}" if result.session else "")


def _short(path: Any) -> str:
    """A path within a dataset without what leads to the dataset."""
    text = str(path or "")
    found = re.search(r"(?:^|/)(sub-[^/]+/.*)$", text)
    return found[1] if found else text


def _error_words(result: Result) -> str:
    where = result.error.get("stage") or result.error.get("node")
    if result.state == "failed":
        return f"Failed at {where}" if where else "Failed"
    return (
        f"The results stand, but {where or 'a later step'} failed"
        if result.error
        else render.STATE_WORDS[result.state]
    )


def _unfinished(result: Result) -> str:
    if result.state == "missing":
        return "There are no derivatives and no status file: it was not processed."
    return "It was begun and has not come to its end; a run may be under way, or was interrupted."


def _stripped(result: Result) -> bool | None:
    if result.file("desc-brain_mask.nii.gz") is None:
        return None  # it did not come to that
    value = result.sidecar("desc-preproc_*.nii.gz").get("SkullStripped", result.status.get("stripped"))
    return value if isinstance(value, bool) else None


def _notes(result: Result) -> list[str]:
    found = derivatives.texts(result.status.get("notes"))
    found += derivatives.texts(result.sidecar("desc-aseg_volumes.tsv").get("Notes"))
    if result.state == "done" and result.missing_outputs:
        found.append("Outputs that were written are no longer there: " + ", ".join(result.missing_outputs))
    return list(dict.fromkeys(found))


def _facts(result: Result, facts: dict[str, Any], stripped: bool | None) -> list[tuple[str, str]]:
    person = derivatives.demographics([result])[result.key]
    rows = [
        ("Contrast", result.suffix),
        ("Grid", " × ".join(str(n) for n in facts.get("shape", []))),
        (
            "Voxel size",
            " × ".join(f"{x:.4g}" for x in facts.get("voxel", [])) + " mm" if facts.get("voxel") else "",
        ),
        ("Orientation", _orientation(facts)),
        (
            "Skull",
            {True: "already stripped in the input", False: "in the image; stripped here"}.get(stripped, ""),
        ),
        ("Brain mask", f"{facts['mask_volume'] / 1000:,.0f} mL" if facts.get("mask_volume") else ""),
        *coregistration.facts(result),
        _age(person),
        ("Sex", person["sex"] or ""),
        ("Version", str(result.status.get("version") or "")),
    ]
    return [row for row in rows if row[1]]


def _age(person: dict[str, Any]) -> tuple[str, str]:
    """Age after or before birth, with its name."""
    if person["gestational_age"] is not None:
        words = f"{person['gestational_age']:.3g} weeks" + (
            " (estimated)" if person["gestational_age_estimated"] else ""
        )
        return "Gestational age", words
    return "Age", f"{person['age']:g} years" if person["age"] is not None else ""


def _orientation(facts: dict[str, Any]) -> str:
    if not facts.get("orientation"):
        return ""
    tilt = facts.get("tilt", 0)
    return facts["orientation"] + (f", tilted by {tilt:.0f}° against the scanner's axes" if tilt >= 1 else "")


def _mask_words(facts: dict[str, Any], stripped: bool | None) -> str:
    size = f"{facts['mask_volume'] / 1000:,.0f} mL. " if facts.get("mask_volume") else ""
    if stripped:
        return size + "The image came without its skull, so the mask is what it holds."
    return size + "Drawn over the bias-corrected image."


def _legend(result: Result) -> list[dict[str, Any]]:
    """Structures of the unit in the order of the label table, both sides next to each other."""
    table, seen, out = result.table, set(), []
    for label in table:
        for index in (label.index, label.partner):
            if index in result.rows and index in table.by_index and index not in seen:
                seen.add(index)
                found = table[index]
                out.append({"index": index, "name": found.name.replace("-", " "), "color": found.color})
    return out


def _viewer_labels(result: Result) -> list[dict[str, Any]]:
    return [
        {
            "index": x.index,
            "name": x.name.replace("-", " "),
            "color": x.color,
            "volume": result.volumes.get(x.name),
        }
        for x in result.table
    ]


def _cohort_words(result: Result, cohort: Cohort) -> str:
    count = len(cohort)
    if result.key not in cohort or count < 2:
        return "There is no other participant in this folder yet to compare with."
    return f"The last column places this one among the n = {count} in this folder when the page was made."


def _histogram(histograms: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Curves of brightness by tissue in a picture of 620 by 132."""
    peak = max((max(values) for values in histograms.values() if values), default=0)
    curves = []
    for name, values in histograms.items():
        if not values or not peak:
            continue
        step = 620 / (len(values) - 1)
        points = [(round(i * step, 1), round(132 - 112 * v / peak, 1)) for i, v in enumerate(values)]
        top = min(points, key=lambda point: point[1])
        curves.append(
            {
                "name": name,
                "color": HISTOGRAM_COLORS.get(name, "#888888"),
                "path": "M0,132 " + " ".join(f"L{x},{y}" for x, y in points) + " L620,132Z",
                "x": min(max(top[0], 40), 580),
                "y": max(top[1] - 5, 11),
            }
        )
    return curves
