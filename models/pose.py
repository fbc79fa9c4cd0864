"""Pose of a brain that may lie in any way: its place, its axes and its length, from a coarse network.

The network says of every voxel how far it lies to the front and to the top of an upright brain and how far
from the midline. All three look the same in a mirror, so they need no notion of left and right; that
follows from the first two by the rule of the right hand. Brought into the *atlas* frame, every brain is
upright and has one length, and what comes after it never meets a turned or a small brain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from . import zoo
from .errors import InputError
from .inference import COORDINATE_SCALE, run
from .volume import Grid, Volume, coordinate_channels, normalize, resample, transform_points

SCALE = 40.0
"""Atlas millimetres in one unit of the predicted pose."""

LENGTH = 92.0
"""Length (mm) of a brain in the atlas frame, front to back."""

LOOKS = 3
"""Looks at the brain: the first finds it, the next ones see it about the centre, the last upright."""

LEAST_MM3 = 8e3
"""Smallest brain (mm3) that is believed."""

WORST = 9.0
"""Median error (atlas mm) of the pose from which it is not believed."""


@dataclass(frozen=True)
class Pose:
    """How a brain lies.

    Attributes
    ----------
    to_atlas : ndarray, shape (4, 4)
        Similarity from the scan's mm to the atlas frame's.
    distance : Volume, float32
        Signed distance (mm) to the brain's surface, positive inside; its grid lies in the scan's mm.
    error : float
        Median disagreement (atlas mm) of the voxels with the similarity.
    """

    to_atlas: np.ndarray
    distance: Volume
    error: float

    @property
    def scale(self) -> float:
        """Atlas millimetres in one of the scan's."""
        return float(np.cbrt(np.linalg.det(self.to_atlas[:3, :3])))

    def upright(self, volume: Volume) -> Volume:
        """The same voxels in the atlas frame: only the affine changes."""
        return Volume(volume.data, self.to_atlas @ volume.affine)


def find(volume: Volume, *, model: str, device: str = "cpu") -> Pose:
    """Find a brain that lies in any way, in a scan of any voxel size.

    Parameters
    ----------
    volume : Volume
        The scan, with or without what surrounds the brain.
    model : str
        Weights.
    device : str
        Where to compute.

    Raises
    ------
    InputError
        If there is nothing in the scan that looks like a brain.
    """
    loaded = zoo.load_once(model, device)
    shape, spacing = tuple(loaded.card["shape"]), float(loaded.card["spacing"])
    axes, centre = np.eye(3), _middle(volume)
    for look in range(LOOKS):
        affine = np.eye(4)
        affine[:3, :3] = axes * spacing
        affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        grid = Grid(shape, affine)
        image = normalize(resample(volume, grid).data)
        about = np.eye(4)
        about[:3, :3] = axes.T
        about[:3, 3] = -axes.T @ centre
        out = run(loaded.network, image, coordinate_channels(grid, about, COORDINATE_SCALE), device=device)
        distance = Volume(out["mask"][0] * 10, affine)
        to_atlas, error, size = fit(distance, out["mask"][1:] * SCALE)
        if size < LEAST_MM3 or error > WORST:
            raise InputError(
                None, "no brain was found in it", "Look at the image: is it a brain, is its header right?"
            )
        centre = np.linalg.inv(to_atlas)[:3, 3]
        if look:
            axes = np.linalg.inv(to_atlas[:3, :3]) * np.cbrt(np.linalg.det(to_atlas[:3, :3]))
    return Pose(to_atlas, distance, error)


def fit(distance: Volume, predicted: torch.Tensor) -> tuple[np.ndarray, float, float]:
    """Similarity from a predicted pose.

    Parameters
    ----------
    distance : Volume
        Signed distance (mm) to the surface.
    predicted : Tensor, shape (3, X, Y, Z)
        To the front, to the top and from the midline (atlas mm).

    Returns
    -------
    to_atlas : ndarray, shape (4, 4)
        From the grid's mm to the atlas frame.
    error : float
        Median disagreement (atlas mm).
    size : float
        Volume (mm3) of the brain that it rests on.

    Examples
    --------
    >>> grid = np.diag([4.0, 4, 4, 1]); grid[:3, 3] = -38
    >>> x = torch.stack(torch.meshgrid(*[torch.arange(20) * 4.0 - 38] * 3, indexing="ij"))
    >>> ball = Volume(30 - x.norm(dim=0), grid)
    >>> matrix, error, _ = fit(ball, torch.stack([x[2], -x[0], x[1].abs()]))
    >>> np.allclose(matrix[:3, :3], [[0, -1, 0], [0, 0, 1], [-1, 0, 0]], atol=1e-3), round(error, 3)
    (True, 0.0)
    """
    inside = distance.data > 0
    count = int(inside.sum())
    size = count * distance.grid.voxel_volume
    if count < 50:
        return np.eye(4), np.inf, size
    points = transform_points(distance.affine, inside.nonzero().numpy().astype(float))
    front, top, across = (predicted[k][inside].double().numpy() for k in range(3))
    mean = points.mean(0)
    design = np.c_[points - mean, np.ones(count)]
    weight = np.ones(count)
    for _ in range(8):
        root = np.sqrt(weight)[:, None]
        found = np.linalg.lstsq(design * root, np.c_[front, top] * root, rcond=None)[0]
        residual = np.linalg.norm(design @ found - np.c_[front, top], axis=1)
        weight = 1 / (1 + (residual / max(2 * np.median(residual), 1e-6)) ** 2)
    y, z = found[:3, 0], found[:3, 1]
    # The nearest pair of equally long, perpendicular axes.
    u, s, vt = np.linalg.svd(np.stack([y, z]), full_matrices=False)
    y, z = (u @ vt) * s.mean()
    x = np.cross(y, z) / s.mean()
    along = (points - mean) @ x
    # The network tells how far, not on which side: the midline is where both sides agree best.
    offsets = np.arange(-12, 12.25, 0.25)
    cost = [np.average(np.abs(np.abs(along + t) - across), weights=weight) for t in offsets]
    out = np.eye(4)
    out[:3, :3] = np.stack([x, y, z])
    out[:3, 3] = [offsets[int(np.argmin(cost))], found[3, 0], found[3, 1]]
    out[:3, 3] -= out[:3, :3] @ mean
    return out, float(np.median(residual)), size


def _middle(volume: Volume) -> np.ndarray:
    """Centre (mm) of what is bright, a first guess of where the brain is."""
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
