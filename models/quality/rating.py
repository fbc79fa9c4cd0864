"""QC rating of a result: pass, check or fail, from single checks with their reasons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry.volume import Volume
from ..population import labels
from ..templates import bundled
from . import measures, quality
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
    "centers_check": 8.0,
    "centers_fail": 15.0,
    "volume_fail": 0.25,
    "outside_check": 0.3,
    "outside_fail": 0.7,
    "beyond_check": 0.03,
    "beyond_fail": 1.0,
    "folds_check": 0.1,
    "folds_fail": 1.0,
}
"""Thresholds; norms may override them. Chosen on the cases of ``benchmarks/quality.py``."""

HEMISPHERE = (2, 3)
"""Left cerebral white matter and cortex."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    name, label : str
        Identifier, and title in the report.
    value : float or None
        Measured value; None if it is unknown.
    unit : str
        Unit of the value; empty for a pure number.
    verdict : {'pass', 'check', 'fail'}
        Rating of the value.
    words : str
        Reason in a sentence.
    """

    name: str
    label: str
    value: float | None
    unit: str
    verdict: str
    words: str


@dataclass(frozen=True)
class QCRating:
    """QC rating of a result.

    Attributes
    ----------
    rating : {'pass', 'check', 'fail'}
        Worst rating of all checks.
    score : float or None
        Mean expected Dice of the structures; None if it is unknown.
    checks : list of Check
        All checks.
    """

    rating: str
    score: float | None
    checks: list[Check]


@dataclass(frozen=True)
class Cavity:
    """The cranial cavity of a result.

    Attributes
    ----------
    volume_ml : float
        Intracranial volume (mL).
    outside : float
        Share of the brain mask more than 2 mm outside the cavity
        (:func:`brainseg.models.intracranial.intracranial.brain_outside`).
    plausible_ml : tuple of float
        Plausible volumes (mL).
    """

    volume_ml: float
    outside: float
    plausible_ml: tuple[float, float]


def worst(ratings: list[str]) -> str:
    """Return the worst of several ratings; ``pass`` if there are none.

    Parameters
    ----------
    ratings : list of {'pass', 'check', 'fail'}
        Ratings.

    Returns
    -------
    str
        The worst of them.

    Examples
    --------
    >>> worst(["pass", "fail", "check"]), worst([])
    ('fail', 'pass')
    """
    return max(ratings, key=GRAVITY.index, default=PASS)


def rate(
    structures: list[Structure],
    mask: Volume,
    segmentation: Volume,
    *,
    norms: Norms | None,
    table: str = "adult",
    plausible_ml: tuple[float, float] | None = None,
    matrix: np.ndarray | None = None,
    folds: float | None = None,
    cautions: Sequence[str] = (),
    misfit: str = "",
    outside: float | None = None,
    cavity: Cavity | None = None,
) -> QCRating:
    """Rate a result.

    Parameters
    ----------
    structures : list of Structure
        Result of :func:`brainseg.models.quality.quality.measure`; empty without norms.
    mask, segmentation : Volume
        Brain mask, and structures (FreeSurfer ids).
    norms : Norms or None
        Usual values; None leaves out the checks that need them.
    table : str
        Label table.
    plausible_ml : tuple of float, optional
        Plausible brain volumes (mL).
    matrix : ndarray, shape (4, 4), optional
        Affine of the registration, from the scan's mm to mm of the norms' template.
    folds : float, optional
        Share (%) of the deformation's voxels that fold.
    cautions : sequence of str
        Reasons for which the rating is at most *check*.
    misfit : str
        Why the orientation in the header does not fit the head: the rating is *fail*.
    outside : float, optional
        Result of :func:`brainseg.models.quality.surroundings.brain_outside`.
    cavity : Cavity, optional
        The cranial cavity.
    """
    limits = DEFAULTS | (norms.thresholds if norms else {})
    checks = [_volume(mask, plausible_ml, limits)] if plausible_ml else []
    checks.append(_match(mask, segmentation, limits))
    checks += _around(outside, cavity, limits)
    if misfit:
        checks.append(Check("orientation", "Orientation in the header", None, "", FAIL, misfit))
    checks += [Check("caution", "Caution", None, "", CHECK, words) for words in cautions]
    by_index = {one.index: one for one in structures}
    if norms is not None:
        checks += _placed(mask, segmentation, by_index, norms, matrix, limits)
        checks += _hemispheres(by_index, table, limits)
    if folds is not None:
        checks.append(_folds(folds, limits))
    score, more = _scores(structures, table, limits)
    return QCRating(worst([check.verdict for check in [*checks, *more]]), score, checks + more)


def _grade(value: float, check: float, fail: float, above: bool = True) -> str:
    sign = 1 if above else -1
    if not math.isfinite(value) or sign * value > sign * fail:
        return FAIL
    return CHECK if sign * value > sign * check else PASS


def _above(
    name: str, label: str, value: float, unit: str, words: str, limits: dict[str, float], key: str
) -> Check:
    rating = _grade(value, limits[f"{key}_check"], limits[f"{key}_fail"])
    return Check(name, label, round(value, 4), unit, rating, words)


def _below(name: str, label: str, value: float, words: str, limits: dict[str, float], key: str) -> Check:
    rating = _grade(value, limits[f"{key}_check"], limits[f"{key}_fail"], above=False)
    return Check(name, label, round(value, 4), "", rating, words)


def _percent(share: float) -> str:
    """Return a share in percent, with two digits at least."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _folds(share: float, limits: dict[str, float]) -> Check:
    words = f"{share:.2g} % of the deformation's voxels fold"
    return _above("folds", "Folds of the deformation", share, "%", words, limits, "folds")


def _outside(share: float, limits: dict[str, float]) -> Check:
    words = f"{100 * share:.0f} % of the voxels around the brain mask have the intensity of brain"
    if share > limits["outside_check"]:
        words += ": the mask may cut through the cortex"
    return _above("outside", "Around the brain mask", share, "", words, limits, "outside")


def _volume(mask: Volume, plausible: tuple[float, float], limits: dict[str, float]) -> Check:
    low, high = plausible
    found = float((mask.data > 0).sum()) * mask.grid.voxel_volume / 1000
    slack = limits["volume_fail"]
    rating = PASS if low <= found <= high else CHECK
    if not low * (1 - slack) <= found <= high * (1 + slack):
        rating = FAIL
    words = f"Brain mask of {found:.0f} mL; plausible are {low:g} to {high:g} mL"
    return Check("brain_volume", "Volume of the brain mask", round(found, 1), "mL", rating, words)


def _around(outside: float | None, cavity: Cavity | None, limits: dict[str, float]) -> list[Check]:
    """Check what surrounds the brain mask, as far as it is known.

    The intracranial volume never fails a result: it is a measure beside the others.
    """
    checks = [] if outside is None else [_outside(outside, limits)]
    if cavity is None:
        return checks
    low, high = cavity.plausible_ml
    verdict = PASS if low <= cavity.volume_ml <= high else CHECK
    words = f"Intracranial volume of {cavity.volume_ml:.0f} mL; plausible are {low:g} to {high:g} mL"
    volume = ("intracranial_volume", "Intracranial volume", round(cavity.volume_ml, 1), "mL", verdict, words)
    words = f"{100 * cavity.outside:.1f} % of the brain mask is more than 2 mm outside the cranial cavity"
    return [
        *checks,
        Check(*volume),
        _above("beyond", "Brain mask inside the skull", cavity.outside, "", words, limits, "beyond"),
    ]


def _match(mask: Volume, segmentation: Volume, limits: dict[str, float]) -> Check:
    one, other = mask.data.numpy() > 0, segmentation.data.numpy() > 0
    total = int(one.sum()) + int(other.sum())
    found = 2 * int((one & other).sum()) / total if total else 0.0
    words = f"Dice of brain mask and segmentation: {found:.2f}"
    return _below("mask_match", "Mask against segmentation", found, words, limits, "match")


def _placed(
    mask: Volume,
    segmentation: Volume,
    by_index: dict[int, Structure],
    norms: Norms,
    matrix: np.ndarray | None,
    limits: dict[str, float],
) -> list[Check]:
    """Check left and right, the mask's position relative to the structures, and the alignment."""
    centers = measures.centroids(segmentation.data.numpy(), segmentation.affine)
    fitted = quality.fit(centers, norms.template)
    if fitted is None:
        words = "Too few structures to find the position of the brain"
        return [Check("place", "Position of the structures", None, "", FAIL, words)]
    own, mirrored = fitted
    words = "Left and right structures are exchanged" if mirrored else "Left structures are on the left"
    checks = [Check("sides", "Left and right", float(mirrored), "", FAIL if mirrored else PASS, words)]
    found = quality.brain_overlap(mask, own, norms)
    words = f"Dice of the mask, aligned by its structures, and the template's brain: {found:.2f}"
    checks.append(_below("mask_place", "Mask against the template's brain", found, words, limits, "place"))
    if matrix is None:
        return checks
    found = quality.brain_overlap(mask, matrix, norms)
    words = f"Dice of the mask, aligned affinely to {norms.template}, and its brain: {found:.2f}"
    checks.append(_below("alignment_overlap", "Alignment: brain", found, words, limits, "place"))
    expected = bundled.load(norms.template).centroids
    away = [
        float(np.linalg.norm(matrix[:3, :3] @ np.array(point) + matrix[:3, 3] - np.array(expected[k])))
        for k, point in centers.items()
        if k in expected and k not in quality.LOOSE
    ]
    far = float(np.median(away)) if away else math.inf
    words = f"Aligned affinely to {norms.template}, structures are {far:.1f} mm (median) off those there"
    checks.append(_above("alignment_centers", "Alignment: structures", far, "mm", words, limits, "centers"))
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
    words = f"The cerebral hemispheres differ by {_percent(found)} of their mean"
    return [_above("hemispheres", "Hemispheres", found, "", words, limits, "hemispheres")]


def _scores(
    structures: list[Structure], table: str, limits: dict[str, float]
) -> tuple[float | None, list[Check]]:
    """Return the mean expected Dice of the structures, and checks of it and of poor structures."""
    known = [one for one in structures if one.score is not None and one.index not in quality.LOOSE]
    if not known:
        return None, []
    score = float(np.mean([one.score for one in known]))
    words = f"Mean expected Dice of the structures without ventricles and CSF: {score:.2f}"
    checks = [_below("score", "Expected Dice, mean", score, words, limits, "score")]
    poor = [one for one in known if one.score is not None and one.score < limits["poor"]]
    poor.sort(key=lambda one: one.score or 0.0)
    share = len(poor) / len(known)
    names = [labels.load(table)[one.index].name.replace("-", " ") for one in poor]
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    words = (
        f"Expected Dice below {limits['poor']:g}: {listed}"
        if poor
        else "No structure is doubtful (ventricles and CSF do not count)"
    )
    checks.append(_above("poor", "Doubtful structures", share, "", words, limits, "poor"))
    return score, checks
