"""Quality control on the pages, and the list of reports for their previous and next buttons."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ....models.io.atomic import write_text
from ....models.population import labels
from ....models.quality import iqm, quality
from ..derivatives import KEY, Result, number

WORDS = {"pass": "Pass", "check": "Check", "fail": "Fail", "": "Not rated"}
"""QC ratings as the pages show them."""

REPORTS = "logs/reports.js"
"""Script with the names of all reports."""

ARTIFACTS = (
    "motion",
    "ringing",
    "low contrast",
    "bias",
    "cropped",
    "wrong mask",
    "wrong segmentation",
    "wrong alignment",
)
"""Problems that a rater can select."""

SHORT = {name: name.upper() for name in ("cjv", "cnr", "snr", "efc", "fber", "inu", "qi", "fwhm", "tpm")}
SHORT |= {name: name.upper() for name in ("csf", "gm", "wm")}
SHORT |= {"snrd": "SNRd", "icvs": "ICVs", "rpve": "rPVE", "wm2max": "WM2MAX", "med": "median", "avg": "mean"}
"""Parts of the names of metrics as publications write them."""

SHARES = ("outside", "beyond", "hemispheres", "poor")
"""Checks whose value is a share, which the page shows in percent as their words do."""

SIGN_WORDS = {
    "size": "unusual size",
    "asymmetry": "asymmetric",
    "pieces": "in pieces",
    "holes": "holes",
    "place": "unusual position",
    "distance": "far from its usual position",
    "edge": "border off the image edges",
    "evenness": "uneven intensities",
    "outside": "outside the mask",
    "uncertainty": "uncertain segmentation",
    "side": "left and right swapped",
}
THRESHOLDS = {"size": 0.7, "asymmetry": 0.7, "pieces": 0.05, "holes": 0.02, "place": 0.25, "distance": 0.7}
THRESHOLDS |= {"edge": 1.4, "evenness": 1.4, "outside": 0.05, "uncertainty": 0.1, "side": 0.5}
"""Value from which a sign is shown; few structures of good scans reach it."""


def write_list(out_dir: Path) -> Path:
    """Write the list of reports in the folder, which every page reads when it opens.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.

    Returns
    -------
    Path
        The script.
    """
    keys = sorted(path.stem for path in Path(out_dir).glob("sub-*.html") if KEY.fullmatch(path.stem))
    path = Path(out_dir) / REPORTS
    write_text(path, f"window.brainsegReports({json.dumps(keys)});\n")
    return path


def context(result: Result) -> dict[str, Any]:
    """Return what the participant's page shows.

    Parameters
    ----------
    result : Result
        The participant-session.

    Returns
    -------
    dict
        ``qc_rating`` (empty if quality control did not run), ``score`` (expected Dice, 0 to 1), ``checks``,
        ``flagged``, ``structures``, ``expected`` (whether any of them has an expected Dice), ``metrics`` and
        ``artifacts``.
    """
    found = result.quality
    checks, judged = result.checks, structures(result)
    return {
        "qc_rating": result.qc_rating,
        "score": number(found.get("Score")),
        "checks": [_check(check) for check in checks],
        "flagged": [str(check.get("words", "")) for check in checks if check.get("verdict") != "pass"],
        "structures": judged,
        "expected": any(side is not None for row in judged for side in row["sides"]),
        "metrics": metrics(result),
        "artifacts": ARTIFACTS,
    }


def _check(check: dict[str, Any]) -> dict[str, Any]:
    value, unit = number(check.get("value")), check.get("unit") or ""
    if value is not None and check.get("name") in SHARES:
        value, unit = 100 * value, "%"
    rating = check.get("verdict")
    return {
        "label": str(check.get("label", "")),
        "value": "" if value is None else f"{_short(value)} {unit}".strip(),
        "rating": rating if rating in WORDS else "",
        "words": str(check.get("words", "")),
    }


def _short(value: float) -> str:
    """Return a value with three digits or one decimal, without powers of ten.

    Stored values are rounded already; one more rounding of 1886.5 would contradict the 1887 of the words.
    """
    return f"{value:,.1f}".removesuffix(".0") if abs(value) >= 100 else f"{value:.3g}"


def metrics(result: Result) -> list[dict[str, Any]]:
    """Return image quality metrics with their definitions; ``summary`` marks summaries of intensities."""
    values, rows = result.metrics, []
    for name, definition in iqm.DEFINITIONS.items():
        if name in values:
            value = number(values[name])
            shown = "n/a" if value is None else f"{value:,.4g}"
            row = {"key": name, "short": short_name(name), "value": shown}
            rows.append({**row, "summary": name.startswith("summary_"), **definition})
    return rows


def short_name(metric: str) -> str:
    """Return the name of a metric as publications write it.

    Examples
    --------
    >>> short_name("cjv"), short_name("snrd_total"), short_name("inu_med"), short_name("qi_1")
    ('CJV', 'SNRd total', 'INU median', 'QI 1')
    """
    return " ".join(SHORT.get(part, part) for part in metric.split("_"))


def structures(result: Result) -> list[dict[str, Any]]:
    """Return expected Dice and signs of failure of every structure, both sides in one row."""
    table, out = result.table, []
    for label in table:
        if label.index == 0 or label.name.startswith("Right-") or label.index not in result.scores:
            continue
        sides = [label.index] if label.partner == label.index else [label.index, label.partner]
        rows = [result.scores.get(index, {}) for index in sides]
        out.append(
            {
                "name": label.name.removeprefix("Left-").replace("-", " "),
                "color": label.color,
                "sides": [number(row.get("score")) for row in rows],
                "signs": sorted({words for row in rows for words in signs(row)}),
            }
        )
    return out


def signs(row: dict[str, str]) -> list[str]:
    """Return the signs of failure of a structure in words."""
    if number(row.get("volume_mm3")) == 0:
        return ["not found"]
    values = {name: number(row.get(f"sign_{name}")) or 0.0 for name in THRESHOLDS}
    return [SIGN_WORDS[name] for name, least in THRESHOLDS.items() if values[name] >= least]


def normal_range(result: Result, names: tuple[str, ...]) -> dict[str, Any] | None:
    """Return an approximate usual range of the volume of structures for a brain of this size.

    Parameters
    ----------
    result : Result
        The participant-session.
    names : tuple of str
        One structure, or its left and right parts, whose ranges are added.

    Returns
    -------
    dict or None
        ``low`` and ``high`` (mm3, middle 95 %), and ``side`` of the range that the volume lies on (``below``,
        ``within`` or ``above``); None without norms for these structures.
    """
    if result.facts.label_table != "adult":
        return None  # the norms are of adults
    norms = quality.load("adult")
    table = {label.name: label.index for label in labels.load("adult")}
    if norms is None or not all(name in table and table[name] in norms.usual for name in names):
        return None
    fluid = next(name for name, index in table.items() if index == quality.FLUID)
    parenchyma = sum(v for name, v in result.volumes.items() if name in table and name != fluid)
    if not parenchyma or fluid in names or any(name not in result.volumes for name in names):
        return None
    low = high = 0.0
    for name in names:
        share = norms.usual[table[name]].get("share")
        if share is None:
            return None
        low += parenchyma * math.exp(share[0] - 1.96 * share[1])
        high += parenchyma * math.exp(share[0] + 1.96 * share[1])
    found = sum(result.volumes[name] for name in names)
    side = "below" if found < low else "above" if found > high else "within"
    return {"low": low, "high": high, "side": side}
