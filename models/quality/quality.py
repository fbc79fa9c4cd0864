"""Quality of a segmentation, structure by structure, without a manual segmentation.

Every structure has signs of failure (:data:`SIGNS`): size and asymmetry against norms, pieces and holes,
position against a prior in the template's space, contrast along the border, spread of the intensities, and
uncertainty of the network. A monotone model, calibrated on corrupted segmentations of synthetic heads
(``brainseg.training.calibration.qc_norms``), maps them to the expected Dice.
:mod:`brainseg.models.quality.rating` rates the whole result.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from scipy import ndimage

from ..data import FOLDER
from ..errors import BrainsegError
from ..geometry.axes import triple
from ..geometry.volume import Grid, Volume
from ..population import labels
from ..registration import linear
from ..templates import bundled, catalog
from . import measures

Point = tuple[float, float, float]
"""RAS mm."""


FLUID = 24
"""Label of the outer CSF; its volume depends on the mask."""

LOOSE = (4, 5, 14, 15, 24, 43, 44)
"""CSF structures, which may have several pieces or irregular borders."""

NEAR_MIDDLE = 4.0
"""Distance (mm) from the midplane up to which a structure's side is not checked."""

SIGNS = {
    "size": "deviation of its share of the brain from the norm, in robust deviations beyond the first",
    "asymmetry": "deviation of its asymmetry from the norm, in robust deviations beyond the first",
    "pieces": "share of the voxels outside the largest piece",
    "holes": "volume of its holes relative to its own",
    "place": "loss of overlap with the prior in the template's space, relative to the usual overlap",
    "distance": "distance of its center from the expected one, in steps of 3 mm beyond the first",
    "edge": "logarithm of usual over measured contrast along its border",
    "evenness": "logarithm of measured over usual spread of its intensities",
    "outside": "share outside the brain mask",
    "uncertainty": "excess of the network's entropy over the usual value",
    "side": "1 on the wrong side of the brain, else 0",
}
"""Signs of failure: 0 is none, and a larger value is worse."""


@dataclass(frozen=True)
class Norms:
    """Usual values of a label table's structures, from label maps and synthetic heads.

    Attributes
    ----------
    name, template : str
        Label table, and template of the prior.
    grid : Grid
        Grid of the prior, in the template's mm.
    prior : dict of int to ndarray
        Probability of every structure by FreeSurfer id, on ``grid``.
    usual : dict of int to dict
        By FreeSurfer id, center and spread of ``share``, ``asymmetry``, ``overlap``, ``edge``, ``evenness``
        and ``uncertainty``.
    weights : dict of str to float
        Weight of every sign in the logit of the expected Dice.
    intercepts : dict of int to float
        By FreeSurfer id, logit of the Dice of a structure without any sign.
    thresholds : dict of str to float
        Thresholds of the QC rating.
    """

    name: str
    template: str
    grid: Grid
    prior: dict[int, np.ndarray]
    usual: dict[int, dict[str, tuple[float, float]]]
    weights: dict[str, float] = field(default_factory=dict)
    intercepts: dict[int, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Structure:
    """Measures of one structure.

    Attributes
    ----------
    index : int
        FreeSurfer id.
    volume : float
        Volume (mm3).
    pieces, holes, euler : int
        Connected pieces (26 neighbors), holes, and Euler number (pieces - tunnels + cavities).
    measures : dict of str to float
        Measured values, by the names of ``Norms.usual``.
    signs : dict of str to float
        Signs of failure by name in :data:`SIGNS`, without unknown ones.
    score : float or None
        Expected Dice, 0 to 1; None without norms.
    """

    index: int
    volume: float
    pieces: int
    holes: int
    euler: int
    measures: dict[str, float]
    signs: dict[str, float]
    score: float | None = None


@cache
def load(name: str) -> Norms | None:
    """Return the norms of a label table.

    Parameters
    ----------
    name : str
        Label table.

    Returns
    -------
    Norms or None
        The norms; None if the table has none.
    """
    folder = FOLDER / "norms"
    if not (folder / f"{name}.json").is_file():
        return None
    record = json.loads((folder / f"{name}.json").read_text())
    with (folder / f"{name}.npz").open("rb") as stream, np.load(stream) as arrays:
        prior = {int(k): arrays[k].astype(np.float32) / 255 for k in arrays.files}
    shape = next(iter(prior.values())).shape
    return Norms(
        name,
        record["template"],
        Grid(shape, np.array(record["affine"])),
        prior,
        {int(k): {m: tuple(v) for m, v in known.items()} for k, known in record["usual"].items()},
        record.get("weights", {}),
        {int(k): float(v) for k, v in record.get("intercepts", {}).items()},
        record.get("thresholds", {}),
    )


def prior_grid(template: str = catalog.SYMMETRIC) -> Grid:
    """Return the grid of the prior over a template.

    Parameters
    ----------
    template : str
        Bundled template.

    Returns
    -------
    Grid
        Grid with voxels of ``measures.SPACING`` mm.
    """
    grid = bundled.load(template).image.grid
    affine = np.diag([measures.SPACING, measures.SPACING, measures.SPACING, 1.0])
    corners = grid.corners()
    affine[:3, 3] = corners.min(0) + (measures.SPACING - 1) / 2
    shape = triple(int(n) for n in np.ceil((np.ptp(corners, axis=0) + 1) / measures.SPACING))
    return Grid(shape, affine)


def fit(found: dict[int, tuple[float, float, float]], template: str) -> tuple[np.ndarray, bool] | None:
    """Return the alignment to a template by the labels' centroids.

    Parameters
    ----------
    found : dict of int to tuple of float
        Centroids (mm) by FreeSurfer id.
    template : str
        Bundled template.

    Returns
    -------
    tuple of (ndarray, bool) or None
        Affine, shape (4, 4), to the template's mm, and whether left and right are exchanged; None if there
        are too few structures.
    """
    try:
        matrix = linear.align(found, bundled.load(template).centroids).matrix
    except (BrainsegError, ValueError):
        return None
    mirrored = float(np.linalg.det(matrix[:3, :3])) < 0
    return matrix, mirrored


def to_norms(matrix: np.ndarray | None, template: str, norms: Norms | None) -> tuple[np.ndarray | None, str]:
    """Return the affine of a registration, continued to the template of the norms, and that template.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4), or None
        From mm of the scan to mm of ``template``.
    template : str
        Template that the scan was registered to.
    norms : Norms or None
        Usual values.

    Returns
    -------
    matrix : ndarray, shape (4, 4), or None
        From mm of the scan to mm of the returned template.
    template : str
        The norms' template; ``template`` if the way there is not known.
    """
    there = bundled.affine_to(template, norms.template) if norms is not None else None
    if matrix is None or there is None or norms is None:
        return matrix, template
    return there @ matrix, norms.template


def measure(
    image: Volume,
    mask: Volume,
    structures: Volume,
    norms: Norms,
    table: str = "adult",
    uncertainty: dict[int, float] | None = None,
) -> list[Structure]:
    """Return the measures of every structure of the label table; a missing one scores 0.

    Parameters
    ----------
    image, mask, structures : Volume
        Bias-corrected scan, brain mask and structures (FreeSurfer ids) on one grid.
    norms, table : Norms, str
        Usual values, and label table.
    uncertainty : dict of int to float, optional
        Entropy of the network's posteriors by FreeSurfer id.
    """
    structures, image, mask = measures.crop(structures, image, mask)
    data, found = image.data.numpy().astype(np.float32), structures.data.numpy().astype(np.int32)
    inside = mask.data.numpy() > 0
    voxel = structures.grid.voxel_volume
    centroid = measures.centroids(found, structures.affine)
    aligned = fit(centroid, norms.template)
    placed = measures.shares(structures, aligned[0], norms.grid) if aligned else {}
    common = {
        "edge": measures.borders(data, found),
        "evenness": measures.spreads(data, found) if found.any() else {},
        "overlap": {
            k: measures.dice(placed.get(k, np.zeros(norms.grid.shape)), p) for k, p in norms.prior.items()
        },
        "uncertainty": uncertainty or {},
    }
    count = np.bincount(found.ravel(), minlength=2036)
    lost = np.bincount(found[~inside], minlength=2036)
    boxes = ndimage.find_objects(found)
    parenchyma = max(float(count[1:].sum() - count[FLUID]), 1.0)
    expected = bundled.load(norms.template).centroids
    out = []
    for label in labels.load(table):
        k = label.index
        if k == 0:
            continue
        if not count[k]:
            out.append(Structure(k, 0.0, 0, 0, 0, {}, {}, 0.0 if norms.weights else None))
            continue
        known = {name: values[k] for name, values in common.items() if k in values}
        known |= _size(float(count[k]), float(count[label.partner]), parenchyma, sided=label.partner != k)
        pieces, apart, holes, hollow, number = measures.topology(found[boxes[k - 1]] == k)
        signs = _signs(known, norms.usual.get(k, {})) | {"outside": float(lost[k] / count[k])}
        if k not in LOOSE:
            signs |= {"pieces": apart, "holes": hollow}
        if aligned and k in expected:
            known["distance"], placed_signs = _place(centroid[k], expected[k], *aligned)
            signs |= placed_signs
        score = expect(k, signs, norms)
        out.append(Structure(k, float(count[k]) * voxel, pieces, holes, number, known, signs, score))
    return out


def _size(count: float, partner: float, parenchyma: float, sided: bool) -> dict[str, float]:
    """Return the log share of the parenchyma and the asymmetry, from counts of voxels."""
    out = {"share": math.log(count / parenchyma)}
    return out | ({"asymmetry": 2 * abs(count - partner) / (count + partner)} if sided else {})


def _place(
    centroid: Point, expected: Point, matrix: np.ndarray, mirrored: bool
) -> tuple[float, dict[str, float]]:
    """Return the distance (mm) of a centroid from the expected one, and its signs of failure."""
    there = matrix[:3, :3] @ np.array(centroid) + matrix[:3, 3]
    distance = float(np.linalg.norm(there - np.array(expected)))
    exchanged = abs(expected[0]) > NEAR_MIDDLE and there[0] * expected[0] < 0
    side = float(exchanged or mirrored)
    return distance, {"side": side, "distance": math.log1p(max(0.0, distance / 3 - 1))}


def _signs(known: dict[str, float], usual: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Return the signs of failure of measured against usual values."""
    out = {}
    for sign, name in (("size", "share"), ("asymmetry", "asymmetry")):
        if name in known and name in usual:
            center, spread = usual[name]
            out[sign] = math.log1p(max(0.0, abs(known[name] - center) / max(spread, 1e-6) - 1))
    if "overlap" in known and "overlap" in usual:
        out["place"] = max(0.0, 1 - known["overlap"] / max(usual["overlap"][0], 1e-6))
    if "edge" in known and "edge" in usual:
        out["edge"] = max(0.0, math.log(usual["edge"][0] / max(known["edge"], 1e-3)))
    if "evenness" in known and "evenness" in usual:
        out["evenness"] = max(0.0, math.log(max(known["evenness"], 1e-3) / usual["evenness"][0]))
    if "uncertainty" in known and "uncertainty" in usual:
        out["uncertainty"] = max(0.0, known["uncertainty"] - usual["uncertainty"][0])
    return out


def expect(index: int, signs: dict[str, float], norms: Norms) -> float | None:
    """Return the expected Dice of a structure.

    Parameters
    ----------
    index : int
        FreeSurfer id.
    signs : dict of str to float
        Its signs of failure.
    norms : Norms
        Norms with the calibrated model.

    Returns
    -------
    float or None
        Expected Dice; None without a calibrated model.
    """
    if not norms.weights or index not in norms.intercepts:
        return None
    logit = norms.intercepts[index] - sum(norms.weights.get(name, 0.0) * v for name, v in signs.items())
    return 1 / (1 + math.exp(-logit))


def brain_overlap(mask: Volume, matrix: np.ndarray, norms: Norms) -> float:
    """Return the Dice of the brain mask with the prior's brain.

    Parameters
    ----------
    mask : Volume
        Brain mask.
    matrix : ndarray, shape (4, 4)
        From the mask's mm to the prior's mm.
    norms : Norms
        Norms with the prior.

    Returns
    -------
    float
        Dice.
    """
    moved = measures.shares(mask.with_data((mask.data > 0).to(torch.int16)), matrix, norms.grid).get(1)
    return measures.dice(moved, np.clip(sum(norms.prior.values()), 0, 1)) if moved is not None else 0.0
