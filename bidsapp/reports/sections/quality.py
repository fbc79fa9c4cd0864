"""What the pages show of quality control, and the list of reports that they leaf through."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ....models.io.atomic import write_text
from ....models.population import labels
from ....models.quality import iqm, quality
from ..derivatives import KEY, Result, number

WORDS = {"pass": "Pass", "check": "Look at it", "fail": "Fail", "": "Not checked"}
REPORTS = "logs/reports.js"
"""Script with the names of all reports, for the pages' keys."""

ARTEFACTS = (
    "motion",
    "ringing",
    "low contrast",
    "bias",
    "cropped",
    "wrong mask",
    "wrong segmentation",
    "wrong alignment",
)
"""What a rater can tick."""

SIGN_WORDS = {
    "size": "unusual size",
    "asymmetry": "asymmetric",
    "pieces": "in pieces",
    "holes": "holes",
    "place": "unusual place",
    "distance": "far from its place",
    "edge": "border off the image's edges",
    "evenness": "uneven intensities",
    "outside": "outside the mask",
    "uncertainty": "network unsure",
    "side": "left and right exchanged",
}
SAID = {"size": 0.7, "asymmetry": 0.7, "pieces": 0.05, "holes": 0.02, "place": 0.25, "distance": 0.7}
SAID |= {"edge": 1.4, "evenness": 1.4, "outside": 0.05, "uncertainty": 0.1, "side": 0.5}
"""From which value on a sign is put into words: what few structures of good real scans reach."""


def write_list(out_dir: Path) -> Path:
    """Write the list of reports that lie in the folder; every page reads it anew."""
    keys = sorted(path.stem for path in Path(out_dir).glob("sub-*.html") if KEY.fullmatch(path.stem))
    path = Path(out_dir) / REPORTS
    write_text(path, f"window.brainsegReports({json.dumps(keys)});\n")
    return path


def context(result: Result) -> dict[str, Any]:
    """What the participant's page shows; ``verdict`` is empty if quality control did not run."""
    found = result.quality
    checks = result.checks
    return {
        "verdict": result.verdict,
        "verdict_words": WORDS[result.verdict],
        "score": number(found.get("Score")),
        "checks": [_check(check) for check in checks],
        "flagged": [str(check.get("words", "")) for check in checks if check.get("verdict") != "pass"],
        "structures": structures(result),
        "metrics": metrics(result),
        "artefacts": ARTEFACTS,
    }


def _check(check: dict[str, Any]) -> dict[str, Any]:
    value = number(check.get("value"))
    verdict = check.get("verdict")
    return {
        "label": str(check.get("label", "")),
        "value": "" if value is None else f"{_short(value)} {check.get('unit') or ''}".strip(),
        "verdict": verdict if verdict in WORDS else "",
        "words": str(check.get("words", "")),
    }


def _short(value: float) -> str:
    """Three digits, and no powers of ten."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def metrics(result: Result) -> list[dict[str, Any]]:
    """Image quality metrics with their definitions; those of intensity summaries come last."""
    values, rows = result.metrics, []
    for name, definition in iqm.DEFINITIONS.items():
        if name in values:
            value = number(values[name])
            shown = "n/a" if value is None else f"{value:,.4g}"
            rows.append({"key": name, "value": shown, "summary": name.startswith("summary_"), **definition})
    return rows


def structures(result: Result) -> list[dict[str, Any]]:
    """Expected Dice of every structure with what speaks against it, both sides in one row."""
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
    """Signs of failure of a structure in words."""
    if number(row.get("volume_mm3")) == 0:
        return ["not found"]
    return [
        SIGN_WORDS[name] for name, least in SAID.items() if (number(row.get(f"sign_{name}")) or 0) >= least
    ]


def usual_range(result: Result, names: tuple[str, ...]) -> dict[str, Any] | None:
    """Volumes (mm3) that the norms let expect for structures, given this brain's size; None without norms.

    The sides' ranges are added; of one structure it is the middle 95 % of the norm.
    """
    if result.table is not labels.load("adult"):
        return None  # the norms are those of brains after birth
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
