"""Pass, check or fail: what the quality of a whole result comes to, check by check, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..geometry.volume import Volume
from ..population import labels
from ..templates import bundled
from . import quality
from .quality import Norms, Structure

PASS, CHECK, FAIL = "pass", "check", "fail"
GRAVITY = (PASS, CHECK, FAIL)

DEFAULTS = {
    "poor": 0.4,
    "score_check": 0.6,
    "score_fail": 0.45,
    "poor_check": 0.15,
    "poor_fail": 0.5,
    "match_check": 0.95,
    "match_fail": 0.85,
    "place_check": 0.85,
    "place_fail": 0.75,
    "hemispheres_check": 0.10,
    "hemispheres_fail": 0.25,
    "centres_check": 8.0,
    "centres_fail": 15.0,
    "volume_fail": 0.25,
    "folds_check": 0.1,
    "folds_fail": 1.0,
}
"""Thresholds; norms may hold others. Own choices, tried on the cases of ``benchmarks/quality.py``."""

HEMISPHERE = (2, 3)
"""Left cerebral white matter and cortex."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    name, label : str
        For programs and for readers.
    value : float or None
        What was found.
    unit : str
        Of the value; empty for a pure number.
    verdict : {'pass', 'check', 'fail'}
        What it means.
    words : str
        The same in a sentence.
    """

    name: str
    label: str
    value: float | None
    unit: str
    verdict: str
    words: str


@dataclass(frozen=True)
class Verdict:
    """What the checks come to: the gravest of them, and the mean of the structures' expected Dice."""

    verdict: str
    score: float | None
    checks: list[Check]


def worst(verdicts: list[str]) -> str:
    """The gravest of verdicts.

    Examples
    --------
    >>> worst(["pass", "fail", "check"]), worst([])
    ('fail', 'pass')
    """
    return max(verdicts, key=GRAVITY.index, default=PASS)


def judge(
    structures: list[Structure],
    mask: Volume,
    segmentation: Volume,
    *,
    norms: Norms | None,
    table: str = "adult",
    plausible_ml: tuple[float, float] | None = None,
    matrix: np.ndarray | None = None,
    folds: float | None = None,
) -> Verdict:
    """Judge a result.

    Parameters
    ----------
    structures : list of Structure
        As :func:`brainseg.models.quality.quality.measure` gives them; empty without norms.
    mask, segmentation : Volume
        Brain, and FreeSurfer ids.
    norms : Norms or None
        What is usual; without them only what needs none is checked.
    table : str
        Label table.
    plausible_ml : tuple of float, optional
        Volumes (mL) that a brain can have.
    matrix : ndarray, shape (4, 4), optional
        The alignment that was used, scan's mm to those of the norms' template.
    folds : float, optional
        Share (%) of the deformation's voxels that fold.
    """
    limits = DEFAULTS | (norms.thresholds if norms else {})
    checks = [_volume(mask, plausible_ml, limits)] if plausible_ml else []
    checks.append(_match(mask, segmentation, limits))
    by_index = {one.index: one for one in structures}
    if norms is not None:
        checks += _placed(mask, segmentation, by_index, norms, matrix, limits)
        checks += _hemispheres(by_index, table, limits)
    if folds is not None:
        words = f"{folds:.2g} % of the deformation's voxels fold"
        checks.append(_above("folds", "Folds of the deformation", folds, "%", words, limits, "folds"))
    known = [one for one in structures if one.score is not None and one.index not in quality.LOOSE]
    score = float(np.mean([one.score for one in known])) if known else None
    if known:
        checks += _scores(known, score, table, limits)
    return Verdict(worst([check.verdict for check in checks]), score, checks)


def _grade(value: float, check: float, fail: float, above: bool = True) -> str:
    sign = 1 if above else -1
    if not math.isfinite(value) or sign * value > sign * fail:
        return FAIL
    return CHECK if sign * value > sign * check else PASS


def _above(
    name: str, label: str, value: float, unit: str, words: str, limits: dict[str, float], key: str
) -> Check:
    verdict = _grade(value, limits[f"{key}_check"], limits[f"{key}_fail"])
    return Check(name, label, round(value, 4), unit, verdict, words)


def _below(name: str, label: str, value: float, words: str, limits: dict[str, float], key: str) -> Check:
    verdict = _grade(value, limits[f"{key}_check"], limits[f"{key}_fail"], above=False)
    return Check(name, label, round(value, 4), "", verdict, words)


def _volume(mask: Volume, plausible: tuple[float, float], limits: dict[str, float]) -> Check:
    low, high = plausible
    found = float((mask.data > 0).sum()) * mask.grid.voxel_volume / 1000
    slack = limits["volume_fail"]
    verdict = PASS if low <= found <= high else CHECK
    if not low * (1 - slack) <= found <= high * (1 + slack):
        verdict = FAIL
    words = f"The brain mask has {found:.0f} mL; brains have {low:g} to {high:g} mL"
    return Check("brain_volume", "Volume of the brain mask", round(found, 1), "mL", verdict, words)


def _match(mask: Volume, segmentation: Volume, limits: dict[str, float]) -> Check:
    one, other = mask.data.numpy() > 0, segmentation.data.numpy() > 0
    total = int(one.sum()) + int(other.sum())
    found = 2 * int((one & other).sum()) / total if total else 0.0
    words = f"Brain mask and segmentation cover each other with a Dice of {found:.2f}"
    return _below("mask_match", "Mask against segmentation", found, words, limits, "match")


def _placed(
    mask: Volume,
    segmentation: Volume,
    by_index: dict[int, Structure],
    norms: Norms,
    matrix: np.ndarray | None,
    limits: dict[str, float],
) -> list[Check]:
    """Where things lie: left and right, the mask among the structures, and the alignment."""
    centres = quality.centroids(segmentation.data.numpy(), segmentation.affine)
    fitted = quality.fit(centres, norms.template)
    if fitted is None:
        words = "There are too few structures to say where the brain lies"
        return [Check("place", "Place of the structures", None, "", FAIL, words)]
    own, mirrored = fitted
    says = "Left and right structures are exchanged" if mirrored else "Left structures lie on the left"
    checks = [Check("sides", "Left and right", float(mirrored), "", FAIL if mirrored else PASS, says)]
    found = quality.brain_overlap(mask, own, norms)
    words = f"Aligned by its structures, the mask covers the usual brain with a Dice of {found:.2f}"
    checks.append(_below("mask_place", "Mask against the usual brain", found, words, limits, "place"))
    if matrix is None:
        return checks
    found = quality.brain_overlap(mask, matrix, norms)
    words = f"In the template's space the mask covers the usual brain with a Dice of {found:.2f}"
    checks.append(_below("alignment_overlap", "Alignment: brain", found, words, limits, "place"))
    expected = bundled.load(norms.template).centroids
    away = [
        float(np.linalg.norm(matrix[:3, :3] @ np.array(point) + matrix[:3, 3] - np.array(expected[k])))
        for k, point in centres.items()
        if k in expected and k not in quality.LOOSE
    ]
    far = float(np.median(away)) if away else math.inf
    words = f"In the template's space structures lie {far:.1f} mm (median) from where they are expected"
    checks.append(_above("alignment_centres", "Alignment: structures", far, "mm", words, limits, "centres"))
    return checks


def _hemispheres(by_index: dict[int, Structure], table: str, limits: dict[str, float]) -> list[Check]:
    entries = labels.load(table).by_index
    if not all(k in entries for k in HEMISPHERE):
        return []
    volumes = [
        sum(by_index[k].volume for k in side if k in by_index)
        for side in (HEMISPHERE, [entries[k].partner for k in HEMISPHERE])
    ]
    total = sum(volumes)
    found = 2 * abs(volumes[0] - volumes[1]) / total if total else math.inf
    words = f"The cerebral hemispheres differ by {100 * found:.0f} % of their mean"
    return [_above("hemispheres", "Hemispheres", found, "", words, limits, "hemispheres")]


def _scores(known: list[Structure], score: float, table: str, limits: dict[str, float]) -> list[Check]:
    """The structures' expected Dice: on average, and how many have a poor one."""
    words = f"The structures' expected Dice is {score:.2f} on average"
    checks = [_below("score", "Expected Dice, mean", score, words, limits, "score")]
    poor = sorted((one for one in known if one.score < limits["poor"]), key=lambda one: one.score or 0.0)
    share = len(poor) / len(known)
    names = [labels.load(table)[one.index].name.replace("-", " ") for one in poor]
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    words = f"Expected Dice below {limits['poor']:g}: {listed}" if poor else "No structure is doubtful"
    checks.append(_above("poor", "Doubtful structures", share, "", words, limits, "poor"))
    return checks
