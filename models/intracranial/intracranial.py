"""Intracranial volume: a mask of the cranial cavity, from a network on the image with its skull.

The cavity is everything inside the skull (brain, fluid, meninges, venous sinuses), down to the foramen
magnum. It does not shrink with the brain, so that volumes of structures are given as fractions of it. The
network regresses the signed distance to the inner surface of the skull. It began as the network of the brain
mask, which knows heads in any contrast, and learned from heads whose brains were partly made smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..geometry import sums
from ..geometry.axes import triple
from ..geometry.volume import Grid, Volume, box, lattice, resample, transform_points
from ..localization import head, tilt
from ..localization.place import Place
from ..networks import zoo
from ..population.populations import Population
from ..segmentation.masks import tidy
from ..segmentation.signed_distance import look

STRIPPED = "there is no skull in the image"
PARTIAL = "the field of view does not cover the head"
UNKNOWN = "there is no network of the cranial cavity for this population"

MOST_OUTSIDE = 0.02
"""Largest share of the cavity outside the field of view with which its volume is given."""

MOST_CUT = 1500.0
"""Largest area (mm2) in which the cavity reaches the ends of the field of view: more than the foramen magnum,
where many fields of view end."""

EARLY = 3.0
"""Distance (mm) from the ends of a field of view in which a cut cavity may seem to end by itself."""

TOLD_OUTSIDE = 0.002
"""Share outside the field of view above which a note says so."""

DISTANCE_SCALE = 10.0
"""Distance (mm) for an output of 1 of the network."""

REACH = 2.0
"""Distance (mm) up to which the surfaces of brain mask and cavity may cross: the error of either."""


@dataclass(frozen=True)
class Intracranial:
    """The cranial cavity of a scan.

    Attributes
    ----------
    mask : Volume, uint8, or None
        1 inside the skull, on the scan's grid; None if it is not available.
    volume : float or None
        Volume (mm3) of the cavity, the part outside the field of view included.
    distance : Volume or None
        Signed distance (mm) to its surface, positive inside, on the grid of the network.
    reason : str
        Why it is not available; empty if it is.
    notes : list of str
        Notes on the results.
    """

    mask: Volume | None = None
    volume: float | None = None
    distance: Volume | None = None
    reason: str = ""
    notes: list[str] = field(default_factory=list)


def unavailable(reason: str) -> Intracranial:
    """Return a result without a volume, and with a note that says why."""
    return Intracranial(reason=reason, notes=[f"The intracranial volume is not available: {reason}."])


def measure(
    volume: Volume,
    record: Population,
    *,
    stripped: bool = False,
    place: Place | None = None,
    device: str = "cpu",
) -> Intracranial:
    """Return the cranial cavity of a head in any contrast.

    Parameters
    ----------
    volume : Volume
        The scan with its skull, upright to about 45 degrees.
    record : Population
        Its networks.
    stripped : bool
        Whether the scan has no skull.
    place : Place, optional
        Where the coarse network found the brain in this scan; found here by default.
    device : str
        Device of the networks.

    Returns
    -------
    Intracranial
        Mask and volume, or the reason why there are none: no network for the population, no skull, or a
        field of view that does not cover the cavity.

    Raises
    ------
    InputError
        If the scan has no brain.
    """
    if not record.intracranial:
        return Intracranial(reason=UNKNOWN)
    if stripped:
        return unavailable(STRIPPED)
    if head.is_partial(volume):
        return unavailable(PARTIAL)
    notes: list[str] = []
    if place is None:
        found = head.find(volume, model=record.coarse, device=device, notes=notes)
        place = Place(found.distance, found.to_atlas)
    distance = _in_any_tilt(volume, place, record.intracranial, device, notes)
    inside = filling(distance)
    seen = resample(volume.with_data(torch.ones(volume.grid.shape)), distance.grid).data
    total = sums.total(inside)
    outside = 1 - sums.total(inside * seen) / total if total else 1.0
    # The network tends to end the cavity a little inside of a field of view that cuts it.
    size = distance.grid.voxel_volume ** (1 / 3)
    rounds = max(1, round(EARLY / size))
    near = torch.from_numpy(ndimage.binary_erosion(seen.numpy() > 0.5, iterations=rounds, border_value=1))
    if outside > MOST_OUTSIDE or cut_area(inside, near.float(), size) > MOST_CUT:
        return unavailable(PARTIAL)
    if outside > TOLD_OUTSIDE:
        share = f"{100 * outside:.1f} %"
        notes.append(f"{share} of the cranial cavity are outside the field of view (extrapolated).")
    return Intracranial(_mask(distance, volume), total * size**3, distance, notes=notes)


def filling(distance: Volume) -> Tensor:
    """Return the share of every voxel that is inside, from the distance (mm) of its center to the surface.

    Parameters
    ----------
    distance : Volume
        Signed distance to the surface (mm), positive inside.
    """
    size = distance.grid.voxel_volume ** (1 / 3)
    return (distance.data / size + 0.5).clamp(0, 1)


def cut_area(inside: Tensor, seen: Tensor, size: float) -> float:
    """Return the area (mm2) in which the ends of a field of view cut a region.

    Parameters
    ----------
    inside, seen : Tensor, shape (X, Y, Z)
        Share of every voxel in the region, and in the field of view.
    size : float
        Voxel size (mm).

    Examples
    --------
    >>> cube, seen = torch.zeros(8, 8, 8), torch.zeros(8, 8, 8)
    >>> cube[2:6, 2:6, 2:6] = 1
    >>> seen[:, :, :4] = 1
    >>> cut_area(cube, seen, 2.0)
    64.0
    """
    there, area = seen > 0.5, 0.0
    for axis in range(3):
        ends = there.narrow(axis, 1, there.shape[axis] - 1) != there.narrow(axis, 0, there.shape[axis] - 1)
        for first in (0, 1):
            side = inside.narrow(axis, first, inside.shape[axis] - 1)
            area += float((side * ends * there.narrow(axis, first, there.shape[axis] - 1)).sum())
    return area * size**2


def _in_any_tilt(volume: Volume, place: Place, model: str, device: str, notes: list[str]) -> Volume:
    """Return the signed distance (mm) to the surface of the cavity; the network sees the head upright."""
    matrix = tilt.upright(place.to_atlas)
    if matrix is None:
        return _distance(volume, place, model, device, notes)
    there = tilt.moved(volume, matrix), tilt.moved_place(place, matrix)
    return tilt.moved(_distance(*there, model, device, notes), np.linalg.inv(matrix))


def _distance(volume: Volume, coarse: Place, model: str, device: str, notes: list[str]) -> Volume:
    """Return the signed distance (mm) to the surface of the cavity, without islands and holes."""
    loaded = zoo.load_once(model, device)
    grid = _box(volume, coarse, triple(loaded.card["shape"]), loaded.card["spacing"])
    found = look(volume, coarse, loaded, grid, device, notes)["mask"][0] * DISTANCE_SCALE
    size = grid.voxel_volume ** (1 / 3)
    whole = torch.from_numpy(tidy(found > 0))
    found = torch.where(whole, torch.where(found > 0, found, size), torch.where(found > 0, -size, found))
    return Volume(found, grid.affine)


def _box(volume: Volume, coarse: Place, shape: tuple[int, int, int], spacing: float) -> Grid:
    """Return a grid about the center of the brain, along the axes of the scan.

    It has the size of the training: the network takes what lies beyond for inside.
    """
    affine = lattice(volume, spacing).affine.copy()
    middle = np.linalg.inv(coarse.to_atlas)[:3, 3]
    low = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[:3, 3] += np.round((low - affine[:3, 3]) / spacing) * spacing
    return Grid(shape, affine)


def _mask(distance: Volume, volume: Volume) -> Volume:
    """Return the inside on the grid of a scan, computed in the box around it alone."""
    index = transform_points(distance.affine, (distance.data > 0).nonzero().numpy())
    index = transform_points(np.linalg.inv(volume.affine), index)
    margin = distance.grid.spacing.max() / volume.grid.spacing
    low = np.clip(np.floor(index.min(0) - margin), 0, volume.grid.shape).astype(int)
    high = np.clip(np.ceil(index.max(0) + margin) + 1, low, volume.grid.shape).astype(int)
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = volume.affine.copy()
    affine[:3, 3] = transform_points(volume.affine, low)
    mask = torch.zeros(volume.grid.shape, dtype=torch.uint8)
    mask[part] = (resample(distance, Grid(triple(high - low), affine), outside=-20.0).data > 0).to(mask.dtype)
    return volume.with_data(mask)


def brain_outside(brain: Volume, distance: Volume, reach: float = REACH) -> float:
    """Return the share of a brain mask more than ``reach`` outside the cranial cavity; 0 without a brain.

    Parameters
    ----------
    brain : Volume
        Mask.
    distance : Volume
        Signed distance (mm) to the surface of the cavity, on any grid.
    reach : float
        Distance (mm) up to which a difference of the two surfaces does not count.
    """
    if not bool((brain.data > 0).any()):
        return 0.0
    part = brain.crop(*box(brain, 0.0))
    inside = part.data > 0
    away = resample(distance, part.grid, outside=-20.0).data < -reach
    return float((inside & away).sum()) / float(inside.sum())


def too_small(brain: Volume, volume: float) -> list[str]:
    """Return a note if an intracranial volume (mm3) is below that of the brain mask, which it contains.

    Examples
    --------
    >>> too_small(Volume(torch.ones(100, 100, 100), np.eye(4)), 0.9e6)[0][:51]
    'The intracranial volume (900 mL) is below that of t'
    """
    size = float((brain.data > 0).sum()) * brain.grid.voxel_volume
    if volume >= size:
        return []
    found, mask = (f"{value / 1000:.0f} mL" for value in (volume, size))
    return [
        f"The intracranial volume ({found}) is below that of the brain mask ({mask}), which lies inside: "
        "one of them is wrong by at least the difference. Check their outlines before it is used."
    ]
