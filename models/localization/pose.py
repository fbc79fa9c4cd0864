"""Pose of a brain in any position: its location, orientation and length.

A coarse network locates the brain, and a search over all rotations
(:mod:`brainseg.models.localization.rotation_search`) finds its orientation. In the *atlas frame*, every brain
is upright and of one length, whatever its position and age.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..errors import InputError
from ..geometry.volume import Grid, Volume, coordinate_channels, normalize, resample, transform_points
from ..networks import zoo
from ..networks.inference import COORDINATE_SCALE, run
from ..templates import age_template
from . import rotation_search

TEMPLATE = "BrainsegFetal"
"""Template by age for the search over rotations, unless the network's card names another."""

PASSES = 2
"""Passes of the network, each centered on the brain of the last one."""

LEAST_MM3 = 8e3
"""Smallest brain (mm3) accepted."""

LEAST_EXPLAINED = 0.25
"""Smallest share of the intensities' variance, explained by the tissues, of an accepted pose."""

MOST_MORE = 1.4
"""Largest extent of a scan of the brain alone, relative to the network's brain."""

EMPTY = 0.02
"""Share of bright voxels around the brain below which a scan is of the brain alone."""


@dataclass(frozen=True)
class Pose:
    """Pose of a brain.

    Attributes
    ----------
    to_atlas : ndarray, shape (4, 4)
        Similarity from the scan's mm to the atlas frame's.
    distance : Volume, float32
        Signed distance (mm) to the brain's surface, positive inside, by the coarse network.
    explained : float
        Share of the intensities' variance that the tissues explain in this pose.
    """

    to_atlas: np.ndarray
    distance: Volume
    explained: float

    @property
    def scale(self) -> float:
        """Millimeters of the atlas frame in one of the scan."""
        return float(np.cbrt(np.linalg.det(self.to_atlas[:3, :3])))

    def upright(self, volume: Volume) -> Volume:
        """Return the same voxels in the atlas frame: only the affine changes."""
        return Volume(volume.data, self.to_atlas @ volume.affine)


def find(volume: Volume, *, model: str, device: str = "cpu", notes: list[str] | None = None) -> Pose:
    """Find the pose of a brain in any position, in a scan of any voxel size.

    Parameters
    ----------
    volume : Volume
        The scan, with or without the surroundings of the brain.
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
    shape, spacing = tuple(loaded.card["shape"]), float(loaded.card["spacing"])
    center = _middle(volume)
    for _ in range(PASSES):
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = center - spacing * (np.array(shape) - 1) / 2
        grid = Grid(shape, affine)
        image = normalize(resample(volume, grid).data)
        about = np.eye(4)
        about[:3, 3] = -center
        coordinates = coordinate_channels(grid, about, COORDINATE_SCALE)
        out = run(loaded.network, image, coordinates, device=device, notes=notes)
        distance = Volume(out["mask"][0] * 10, affine)
        brain = _largest(distance.data > 0)
        if float(brain.sum()) * grid.voxel_volume < LEAST_MM3:
            raise _no_brain()
        center = transform_points(affine, brain.nonzero().double().mean(0).numpy())
    alone = _alone(image, distance.data)
    if alone is not None:
        brain = alone
    template = age_template.load(loaded.card.get("template", TEMPLATE))
    masked = Volume(torch.where(brain, image, 0.0), affine)
    to_atlas, explained = rotation_search.search(masked, brain, template)
    if explained < LEAST_EXPLAINED:
        raise _no_brain()
    return Pose(to_atlas, distance, explained)


def _alone(image: Tensor, distance: Tensor) -> Tensor | None:
    """Return the scan's extent if it is of the brain alone; otherwise None."""
    near = ndimage.distance_transform_edt((distance <= 0).numpy())
    shell = torch.from_numpy(near > 3)
    bright = image > 0.05
    if not bool(shell.any()) or float(bright[shell].float().mean()) > EMPTY:
        return None
    alone = _largest(bright)
    return alone if float(alone.sum()) < MOST_MORE * float((distance > 0).sum()) else None


def _largest(inside: Tensor) -> Tensor:
    pieces, count = ndimage.label(inside.numpy())
    if count < 2:
        return inside
    return torch.from_numpy(pieces == np.bincount(pieces.ravel())[1:].argmax() + 1)


def _no_brain() -> InputError:
    return InputError(None, "no brain found in the image", "Check the image and its header")


def _middle(volume: Volume) -> np.ndarray:
    """Return the center (mm) of the bright voxels, a first estimate of the brain's location."""
    image = normalize(volume.data)
    step = [max(1, n // 64) for n in image.shape]
    small = image[:: step[0], :: step[1], :: step[2]]
    weight = torch.where(small > 0.1, small, 0.0).double()
    if not bool((weight > 0).any()):
        return volume.affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + volume.affine[:3, 3]
    index = [
        float((weight.sum(tuple(a for a in range(3) if a != axis)) * torch.arange(n)).sum() / weight.sum())
        for axis, n in enumerate(small.shape)
    ]
    return volume.affine[:3, :3] @ (np.array(index) * step) + volume.affine[:3, 3]
