"""Coarse localization of the brain in a head, at 3 mm: position, orientation, and left and right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..geometry.affine import fit_affine
from ..geometry.volume import (
    Grid,
    Volume,
    coordinate_channels,
    lattice,
    normalize,
    resample,
    transform_points,
)
from ..networks import zoo
from ..networks.inference import COORDINATE_SCALE, probabilities, run
from ..population import labels
from ..population.labels import LabelTable

SHAPE = (64, 80, 64)
"""Shape of the network's window, as in training."""

PASSES = 3
"""Most passes of the network, each centered on the brain of the last one; they end where the window stays."""

STRETCH = (0.5, 2.0)
"""Plausible scale along any axis, relative to the mean head."""

LEAST_MM3 = 50.0
"""Smallest structure (mm3) used for the alignment."""

LEAST_SHARED = 6
"""Fewest structures of an alignment."""

WHOLE_MM = 110.0
"""Smallest field of view (mm) along each axis that can show a whole brain. In smaller ones, structures spread
too little along that axis for an affine alignment."""

FADE_MM = 60.0
"""Distance (mm) over which a partial head is continued beyond its ends, fading: the networks take an abrupt
end of the head for that of a brain without skull."""

CUT = 0.02
"""Share of bright voxels in an end slice above which the field of view cuts the head."""


@dataclass(frozen=True)
class Coarse:
    """Results of the coarse network; all volumes share one grid.

    Attributes
    ----------
    distance : Volume, float32
        Signed distance to the brain's surface (mm), positive inside.
    structures : Volume, shape (C, X, Y, Z)
        Probabilities of the table's unsided structures.
    left : Volume, float32
        Log odds of left against right.
    to_atlas : ndarray, shape (4, 4)
        Affine from the scan's mm to the atlas frame of the training heads.
    error : float
        Median distance (mm) of the structures from those of the atlas after alignment.
    confidence : float
        Mean probability of the most probable structure outside the background.
    """

    distance: Volume
    structures: Volume
    left: Volume
    to_atlas: np.ndarray
    error: float
    confidence: float


def find(
    volume: Volume, *, model: str = "head-coarse", device: str = "cpu", notes: list[str] | None = None
) -> Coarse:
    """Find the brain in a scan of any orientation, contrast and voxel size.

    Parameters
    ----------
    volume : Volume
        The scan, with or without skull.
    model : str
        Name or path of the weights.
    device : str
        Device of the network.
    notes : list of str, optional
        Notes on the results are appended.

    Raises
    ------
    InputError
        If the scan has no brain.
    """
    loaded = zoo.load_once(model, device)
    spacing = loaded.card["spacing"]
    whole = resample(volume, lattice(volume, spacing))
    center = _guess(whole)
    table = labels.load(loaded.card["label_table"])
    atlas = _centroids_of(loaded.card)
    small = is_partial(volume)
    wide = continued(volume) if small else volume
    seen = resample(wide, lattice(wide, spacing)) if small else whole
    grid = _window(whole, center, spacing)
    for _ in range(PASSES):
        out = _pass(loaded.network, seen, grid, device, notes)
        structures = probabilities(out["structure"])
        found = _aligned(centroids(structures, out["mask"][1], grid, table), atlas, small)
        if found is None:
            raise no_brain(volume)
        to_atlas, error = found
        before, grid = grid, _window(whole, np.linalg.inv(to_atlas)[:3, 3], spacing)
        if np.array_equal(before.affine, grid.affine):
            break
    grid = before
    sure = confidence(structures)
    scales = np.linalg.svd(to_atlas[:3, :3], compute_uv=False)
    if (
        sure < loaded.card.get("least_confidence", 0)
        or scales.min() < STRETCH[0]
        or scales.max() > STRETCH[1]
    ):
        raise no_brain(volume)
    return Coarse(
        distance=Volume(out["mask"][0] * 10, grid.affine),
        structures=Volume(structures, grid.affine),
        left=Volume(out["mask"][1], grid.affine),
        to_atlas=to_atlas,
        error=error,
        confidence=sure,
    )


def _aligned(
    points: dict[tuple[int, int], np.ndarray], atlas: dict[tuple[int, int], np.ndarray], small: bool
) -> tuple[np.ndarray, float] | None:
    """Return the alignment of structures to those of the atlas, and its median error (mm); None for too few.

    ``small`` says that the field of view is too small for an affine.
    """
    shared = sorted(set(points) & set(atlas))
    if len(shared) < LEAST_SHARED:
        return None
    moving, fixed = (np.array([where[k] for k in shared]) for where in (points, atlas))
    to_atlas = fit_affine(moving, fixed, kind="affine" if len(shared) >= 12 and not small else "similarity")
    return to_atlas, float(np.median(np.linalg.norm(transform_points(to_atlas, moving) - fixed, axis=1)))


def _centroids_of(card: dict[str, Any]) -> dict[tuple[int, int], np.ndarray]:
    """Return the centroids (mm) of a network's card, by structure and side as in :func:`centroids`."""
    pairs = ((key.partition(":"), np.array(point)) for key, point in card["centroids"].items())
    return {(int(index), int(side)): point for (index, _, side), point in pairs}


def similarity(found: Coarse, model: str = "head-coarse") -> np.ndarray:
    """Return the similarity transform from a scan's mm to the atlas frame, shape (4, 4).

    A structure that is misplaced, as beside a face that was cut off, stretches an affine and not this one.

    Parameters
    ----------
    found : Coarse
        Result of :func:`find`.
    model : str
        Name or path of its weights.
    """
    card = zoo.read_card(model)
    table = labels.load(card["label_table"])
    points = centroids(found.structures.data, found.left.data, found.structures.grid, table)
    atlas = _centroids_of(card)
    shared = sorted(set(points) & set(atlas))
    moving, fixed = (np.array([where[key] for key in shared]) for where in (points, atlas))
    return fit_affine(moving, fixed, kind="similarity")


def _pass(
    network: nn.Module, whole: Volume, grid: Grid, device: str, notes: list[str] | None
) -> dict[str, Tensor]:
    """Return the network's logits in one window; the coordinates start at its center."""
    image = resample(whole, grid)
    about = np.eye(4)
    about[:3, 3] = -transform_points(grid.affine, (np.array(grid.shape) - 1) / 2)
    coordinates = coordinate_channels(grid, about, COORDINATE_SCALE)
    return run(network, normalize(image.data), coordinates, device=device, notes=notes)


def field_of_view(volume: Volume) -> np.ndarray:
    """Return the field of view (mm) along each voxel axis, shape (3,)."""
    return np.array(volume.grid.shape) * volume.grid.spacing


def cut_axes(volume: Volume) -> list[int]:
    """Return the voxel axes along which the field of view is too small for a whole brain and cuts the head.

    Parameters
    ----------
    volume : Volume
        The scan.
    """
    narrow = [axis for axis, span in enumerate(field_of_view(volume)) if span < WHOLE_MM]
    if not narrow:
        return []
    bright = normalize(volume.data) > 0.1
    ends = {axis: (bright.select(axis, 0), bright.select(axis, -1)) for axis in narrow}
    return [axis for axis in narrow if any(float(end.float().mean()) > CUT for end in ends[axis])]


def is_partial(volume: Volume) -> bool:
    """Return whether the field of view is too small for a whole brain."""
    return bool(cut_axes(volume))


def continued(volume: Volume) -> Volume:
    """Return a volume continued along the axes with too small a field of view, fading to the darkest value.

    Parameters
    ----------
    volume : Volume
        The scan.

    Returns
    -------
    Volume
        On a larger grid.
    """
    data, affine = volume.data, volume.affine.copy()
    low = float(data.min())
    for axis in cut_axes(volume):
        size, n = float(volume.grid.spacing[axis]), data.shape[axis]
        count = math.ceil(FADE_MM / size)
        index = torch.arange(-count, n + count)
        beyond = (-index).clamp(min=0) + (index - n + 1).clamp(min=0)
        fading = (1 - beyond * size / FADE_MM).clamp(min=0)
        shape = [-1 if a == axis else 1 for a in range(3)]
        data = (data.index_select(axis, index.clamp(0, n - 1)) - low) * fading.view(shape) + low
        affine[:3, 3] -= affine[:3, axis] * count
    return Volume(data, affine)


def no_brain(volume: Volume | None = None) -> InputError:
    """Return the error for a scan without a brain, or with too small a field of view.

    Parameters
    ----------
    volume : Volume, optional
        The scan.
    """
    if volume is not None and is_partial(volume):
        size = "x".join(f"{n:.0f}" for n in field_of_view(volume))
        reason = f"no brain found: the field of view ({size} mm) is too small"
        return InputError(None, reason, "Give a scan of the whole head or brain")
    remedy = "Check the image and its header. For a fetus, use --population fetal"
    return InputError(None, "no brain found in the image", remedy)


def confidence(probabilities: Tensor) -> float:
    """Return the mean probability of the most probable class over the voxels outside the background.

    Networks find structures in noise too, but with lower probability than in any head. The model card has the
    lowest accepted value (``least_confidence``).

    Parameters
    ----------
    probabilities : Tensor, shape (C, ...)
        Probabilities of the classes, background first.

    Returns
    -------
    float
        The mean, 0 to 1; 0 if all voxels are background.

    Examples
    --------
    >>> confidence(torch.tensor([[0.9, 0.2], [0.1, 0.8]]))
    0.800000011920929
    """
    highest, which = probabilities.max(0)
    inside = highest[which > 0]
    return float(inside.mean()) if len(inside) else 0.0


def centroids(
    probabilities: Tensor, left: Tensor, grid: Grid, table: LabelTable
) -> dict[tuple[int, int], np.ndarray]:
    """Return the centroid (mm) of every structure and side.

    Parameters
    ----------
    probabilities : Tensor, shape (C, X, Y, Z)
        Probabilities of the table's unsided structures.
    left : Tensor, shape (X, Y, Z)
        Log odds of left against right.
    grid : Grid
        Grid of both.
    table : LabelTable
        Label table of the structures.

    Returns
    -------
    dict
        (FreeSurfer id without side, 1 left | 0 right | -1 neither) to a point (mm); present structures only.
    """
    axes = [torch.arange(n, dtype=torch.float32) for n in grid.shape]
    share = left.sigmoid()
    out = {}
    for k, index in enumerate(table.unsided):
        if index == 0 or (table[index].tissue == "csf" and index not in (14, 15)):
            continue
        paired = table[index].partner != index
        for side, part in ((1, share), (0, 1 - share)) if paired else ((-1, None),):
            weight = probabilities[k] if part is None else probabilities[k] * part
            weight = torch.where(weight > 0.2, weight, 0)
            # Planes first: the rounding of a sum of all voxels depends on the number of threads.
            sums = [weight.sum(tuple(a for a in range(3) if a != axis)) for axis in range(3)]
            total = float(sums[0].sum())
            if total * grid.voxel_volume < LEAST_MM3:
                continue
            voxel = np.array([float((s * a).sum()) / total for s, a in zip(sums, axes, strict=True)])
            out[index, side] = transform_points(grid.affine, voxel)
    return out


def explained(volume: Volume, found: Coarse) -> float:
    """Return the share of the variance of the brain's intensities that its structures explain.

    Parameters
    ----------
    volume : Volume
        The scan.
    found : Coarse
        Result of :func:`find`.

    Returns
    -------
    float
        Share, 0 to 1; 0 without a brain.
    """
    image = normalize(resample(volume, found.structures.grid).data)
    which = found.structures.data.argmax(0)
    values, which = image[which > 0].double(), which[which > 0]
    total = float(((values - values.mean()) ** 2).sum()) if len(values) else 0.0
    if total == 0:
        return 0.0
    count = torch.bincount(which).clamp(min=1)
    mean = torch.bincount(which, weights=values) / count
    return 1 - float(((values - mean[which]) ** 2).sum()) / total


def _guess(whole: Volume) -> np.ndarray:
    """Return a first estimate of the brain's center (mm): that of the bright voxels, higher with a neck."""
    bright = normalize(whole.data) > 0.1
    ends = []
    for axis in range(3):
        line = bright.float().mean(tuple(a for a in range(3) if a != axis))
        index = (line > 0.02).nonzero()[:, 0]
        if len(index) == 0:
            index = torch.arange(len(line))
        ends.append((int(index[0]), int(index[-1])))
    low = transform_points(whole.affine, np.array([e[0] for e in ends]))
    high = transform_points(whole.affine, np.array([e[1] for e in ends]))
    center = (low + high) / 2
    if high[2] - low[2] > 170:
        center[2] = high[2] - 85
    return center


def _window(whole: Volume, center: np.ndarray, spacing: float) -> Grid:
    """Return the window around ``center``, on the lattice of ``whole``."""
    start = center - (np.array(SHAPE) - 1) / 2 * spacing
    origin = whole.affine[:3, 3]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = origin + np.round((start - origin) / spacing) * spacing
    return Grid(SHAPE, affine)
