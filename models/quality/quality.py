"""Quality of a segmentation, structure by structure, without knowing the truth, and of the whole result.

For every structure signs of failure are measured (:data:`SIGNS`): size and asymmetry against norms, pieces
and holes, place against a prior in the template's space, whether its border lies on an edge of the image,
how even its intensities are, and how sure the network was. A monotone model calibrated on corrupted
segmentations of synthetic heads (``brainseg.training.calibration.qc_norms``) turns them into the Dice that
is to be
expected. :mod:`brainseg.models.quality.rating` judges the whole from that.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from scipy import ndimage

from ..data import FOLDER
from ..errors import BrainsegError
from ..geometry.volume import Grid, Volume, resample
from ..population import labels
from ..registration import linear
from ..templates import bundled

Point = tuple[float, float, float]
"""RAS mm."""

SPACING = 3.0
"""Voxel size (mm) of the prior."""

FINER = 2
"""Samples of the labels along each side of a voxel of the prior."""

FLUID = 24
"""Label of the fluid around the brain; how much of it there is depends on the mask."""

LOOSE = (4, 5, 14, 15, 24, 43, 44)
"""Structures that may come in several pieces or have odd borders: fluid."""

NEAR_MIDDLE = 4.0
"""Distance (mm) from the midplane within which a structure has no side to be mistaken."""

SIGNS = {
    "size": "distance of its share of the brain from the norm, in robust deviations beyond the first",
    "asymmetry": "distance of its asymmetry from the norm, in robust deviations beyond the first",
    "pieces": "share of it apart from its largest piece",
    "holes": "volume of its holes over its own",
    "place": "loss of overlap with the prior in the template's space, against what is usual",
    "distance": "distance of its centre from the expected one, in steps of 3 mm beyond the first",
    "edge": "logarithm of usual over found contrast along its border",
    "evenness": "logarithm of found over usual spread of its intensities",
    "outside": "share of it outside of the brain mask",
    "uncertainty": "excess of the network's entropy over the usual",
    "side": "whether it lies on the other side than its name says",
}
"""Signs of failure: none is negative, and more is worse."""


@dataclass(frozen=True)
class Norms:
    """What is usual, from label maps and synthetic heads; see the file's ``source``.

    Attributes
    ----------
    grid : Grid
        Where the prior lies, in the template's mm.
    prior : dict of int to ndarray
        Probability of every structure by FreeSurfer id, on ``grid``.
    usual : dict of int to dict
        Of every structure ``share``, ``asymmetry``, ``overlap``, ``edge``, ``evenness``, ``uncertainty``:
        centre and spread.
    weights : dict of str to float
        Of the signs, in the expected Dice's logit.
    intercepts : dict of int to float
        Logit of the Dice of a structure without any sign.
    thresholds : dict of str to float
        Of the verdict.
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
    """What was measured of one structure.

    Attributes
    ----------
    index : int
        FreeSurfer id.
    volume : float
        mm3.
    pieces, holes, euler : int
        Connected pieces (26 neighbours), holes, and Euler number (pieces - tunnels + cavities).
    measures : dict of str to float
        As found, under the names of ``Norms.usual``.
    signs : dict of str to float
        By name in :data:`SIGNS`; those that cannot be known are left out.
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
    """Norms for the label table ``name``; None if there are none yet."""
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


def prior_grid(template: str = bundled.DEFAULT) -> Grid:
    """The grid of the prior over a template."""
    grid = bundled.load(template).image.grid
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    corners = grid.corners()
    affine[:3, 3] = corners.min(0) + (SPACING - 1) / 2
    shape = tuple(int(n) for n in np.ceil((np.ptp(corners, axis=0) + 1) / SPACING))
    return Grid(shape, affine)  # type: ignore[arg-type]


def shares(structures: Volume, matrix: np.ndarray, grid: Grid) -> dict[int, np.ndarray]:
    """Share of every label in the voxels of ``grid``, after ``matrix`` (mm to mm)."""
    step = SPACING / FINER
    affine = grid.affine.copy()
    affine[:3, :3] /= FINER
    affine[:3, 3] -= (SPACING - step) / 2
    fine = Grid(tuple(n * FINER for n in grid.shape), affine)  # type: ignore[arg-type]
    moved = Volume(structures.data, matrix @ structures.affine)
    found = resample(moved, fine, mode="nearest").data.numpy()
    blocks = found.reshape([m for n in grid.shape for m in (n, FINER)])
    out = {}
    for index in np.unique(found):
        if index:
            out[int(index)] = (blocks == index).mean((1, 3, 5), dtype=np.float32)
    return out


def centroids(structures: np.ndarray, affine: np.ndarray) -> dict[int, tuple[float, float, float]]:
    """Centre (mm) of every label."""
    flat = structures.ravel().astype(np.int64)
    count = np.bincount(flat)
    mean = []
    for axis, size in enumerate(structures.shape):
        shape = [-1 if a == axis else 1 for a in range(3)]
        line = np.broadcast_to(np.arange(size, dtype=np.float32).reshape(shape), structures.shape)
        mean.append(np.bincount(flat, line.ravel()) / np.maximum(count, 1))
    points = np.stack(mean, 1) @ affine[:3, :3].T + affine[:3, 3]
    return {int(k): tuple(points[k].tolist()) for k in np.nonzero(count)[0] if k}


def fit(found: dict[int, tuple[float, float, float]], template: str) -> tuple[np.ndarray, bool] | None:
    """Alignment by the labels' own centres, and whether left and right are exchanged; None if too few."""
    try:
        matrix = linear.align(found, bundled.load(template).centroids).matrix
    except (BrainsegError, ValueError):
        return None
    mirrored = float(np.linalg.det(matrix[:3, :3])) < 0
    return matrix, mirrored


def crop(structures: Volume, *others: Volume, margin: int = 3) -> list[Volume]:
    """The box around the labels of volumes on one grid."""
    where = ndimage.find_objects((structures.data.numpy() != 0).astype(np.uint8))
    if not where:
        return [structures, *others]
    start = tuple(max(0, s.start - margin) for s in where[0])
    ends = [min(n, s.stop + margin) for s, n in zip(where[0], structures.data.shape, strict=True)]
    shape = tuple(e - s for s, e in zip(start, ends, strict=True))
    return [volume.crop(start, shape) for volume in (structures, *others)]  # type: ignore[arg-type]


def topology(part: np.ndarray) -> tuple[int, float, int, float, int]:
    """Pieces, share apart from the largest, holes, their volume over the part's, and the Euler number."""
    padded = np.pad(part, 1)
    pieces, count = ndimage.label(padded, np.ones((3, 3, 3)))
    size = np.bincount(pieces.ravel())[1:]
    total = int(size.sum())
    hollow, gaps = ndimage.label(~padded)
    holes = max(gaps - 1, 0)
    empty = int(np.count_nonzero(~padded) - np.bincount(hollow.ravel())[1:].max()) if gaps else 0
    return count, 1 - float(size.max()) / total, holes, empty / total, euler(padded)


def euler(part: np.ndarray) -> int:
    """Euler number of a set of voxels joined by faces, edges and corners: vertices - edges + faces - cubes.

    Examples
    --------
    >>> ball = np.zeros((5, 5, 5), bool); ball[1:4, 1:4, 1:4] = True
    >>> euler(ball)
    1
    >>> ball[2, 2, :] = False  # a tunnel
    >>> euler(ball)
    0
    """
    whole = np.pad(part, 1)
    either = lambda a, axis: a[_at(axis, 1)] | a[_at(axis, 0)]  # noqa: E731
    total = -int(whole.sum())
    faces = [either(whole, axis) for axis in range(3)]
    total += sum(int(f.sum()) for f in faces)
    edges = [either(faces[0], 1), either(faces[0], 2), either(faces[1], 2)]
    total -= sum(int(e.sum()) for e in edges)
    return total + int(either(edges[0], 2).sum())


def _at(axis: int, first: int) -> tuple[slice, ...]:
    return tuple(slice(first, None if first else -1) if a == axis else slice(None) for a in range(3))


def borders(image: np.ndarray, structures: np.ndarray) -> dict[int, float]:
    """Contrast along every label's border: mean step across it over mean step within it."""
    size = int(structures.max()) + 1
    across, across_n, within, within_n = (np.zeros(size) for _ in range(4))
    for axis in range(3):
        a, b = structures[_at(axis, 0)].ravel(), structures[_at(axis, 1)].ravel()
        step = np.abs(image[_at(axis, 1)] - image[_at(axis, 0)]).ravel()
        same = a == b
        within += np.bincount(a[same], step[same], size)
        within_n += np.bincount(a[same], minlength=size)
        # Against the brain's outside there is an edge wherever the mask lies.
        other = ~same & (a > 0) & (b > 0)
        for side in (a, b):
            across += np.bincount(side[other], step[other], size)
            across_n += np.bincount(side[other], minlength=size)
    out = {}
    for k in np.nonzero((across_n > 0) & (within_n > 0))[0]:
        if k and within[k] > 0:
            out[int(k)] = float(across[k] / across_n[k] / (within[k] / within_n[k]))
    return out


def spreads(image: np.ndarray, structures: np.ndarray) -> dict[int, float]:
    """Robust deviation of every label's intensities over that of the whole brain's."""
    inside = structures > 0
    values, ids = image[inside], structures[inside]
    order = np.argsort(ids, kind="stable")
    values, ids = values[order], ids[order]
    whole = _deviation(values[:: max(1, values.size // 200_000)])
    starts = np.r_[np.nonzero(np.r_[True, ids[1:] != ids[:-1]])[0], ids.size]
    pairs = itertools.pairwise(starts)
    return {int(ids[a]): _deviation(values[a:b]) / max(whole, 1e-9) for a, b in pairs}


def _deviation(values: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def measure(
    image: Volume,
    mask: Volume,
    structures: Volume,
    norms: Norms,
    table: str = "adult",
    uncertainty: dict[int, float] | None = None,
) -> list[Structure]:
    """Measure every structure of the label table; those that are missing have no volume and score 0.

    Parameters
    ----------
    image, mask, structures : Volume
        Bias-corrected scan, brain, and FreeSurfer ids, on one grid.
    norms : Norms
        Usual values.
    table : str
        Label table; the structures are in its order.
    uncertainty : dict of int to float, optional
        Entropy of the network's posteriors by FreeSurfer id.
    """
    structures, image, mask = crop(structures, image, mask)
    data, found = image.data.numpy().astype(np.float32), structures.data.numpy().astype(np.int32)
    inside = mask.data.numpy() > 0
    voxel = structures.grid.voxel_volume
    centroid = centroids(found, structures.affine)
    aligned = fit(centroid, norms.template)
    placed = shares(structures, aligned[0], norms.grid) if aligned else {}
    common = {
        "edge": borders(data, found),
        "evenness": spreads(data, found) if found.any() else {},
        "overlap": {k: dice(placed.get(k, np.zeros(norms.grid.shape)), p) for k, p in norms.prior.items()},
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
        pieces, apart, holes, hollow, number = topology(found[boxes[k - 1]] == k)
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
    """Logarithm of a structure's share of the parenchyma, and its asymmetry; all counts in voxels."""
    out = {"share": math.log(count / parenchyma)}
    return out | ({"asymmetry": 2 * abs(count - partner) / (count + partner)} if sided else {})


def _place(
    centroid: Point, expected: Point, matrix: np.ndarray, mirrored: bool
) -> tuple[float, dict[str, float]]:
    """Distance (mm) of a structure's centroid from the expected one, and the signs of failure by it."""
    there = matrix[:3, :3] @ np.array(centroid) + matrix[:3, 3]
    distance = float(np.linalg.norm(there - np.array(expected)))
    exchanged = abs(expected[0]) > NEAR_MIDDLE and there[0] * expected[0] < 0
    side = float(exchanged or mirrored)
    return distance, {"side": side, "distance": math.log1p(max(0.0, distance / 3 - 1))}


def _signs(known: dict[str, float], usual: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Signs of failure from measures and what is usual."""
    out = {}
    for sign, name in (("size", "share"), ("asymmetry", "asymmetry")):
        if name in known and name in usual:
            centre, spread = usual[name]
            out[sign] = math.log1p(max(0.0, abs(known[name] - centre) / max(spread, 1e-6) - 1))
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
    """Expected Dice of a structure by its signs; None without a calibrated model."""
    if not norms.weights or index not in norms.intercepts:
        return None
    logit = norms.intercepts[index] - sum(norms.weights.get(name, 0.0) * v for name, v in signs.items())
    return 1 / (1 + math.exp(-logit))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two maps of shares."""
    total = float(one.sum() + other.sum())
    return 2 * float(np.minimum(one, other).sum()) / total if total else 0.0


def brain_overlap(mask: Volume, matrix: np.ndarray, norms: Norms) -> float:
    """Dice of the brain mask, moved by ``matrix``, with the prior's brain."""
    moved = shares(mask.with_data((mask.data > 0).to(torch.int16)), matrix, norms.grid).get(1)
    return dice(moved, np.clip(sum(norms.prior.values()), 0, 1)) if moved is not None else 0.0
