"""Labels carried along a warp without the steps that were drawn into them.

Labels drawn slice by slice have steps of a voxel along their borders, and a warp carries the steps too. Here
every label's map is smoothed first. Smoothing alone would shrink what is thin or pointed, so each map is
raised until its label has as many voxels as it had.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from ..deformation.warp import Warp
from ..geometry.volume import Grid, Volume

SWEEPS = 8
"""Times that every label is given its volume again, as its neighbours take theirs."""


def smoothed(labels: Volume, sigma: float) -> tuple[list[int], Volume]:
    """By how much each label's smoothed map lies above the background's.

    Parameters
    ----------
    labels : Volume of integers, shape (X, Y, Z)
        Labels, 0 the background; few of them, as every one gets a map.
    sigma : float
        Standard deviation of the Gaussian (mm).

    Returns
    -------
    values : list of int
        The K labels.
    maps : Volume, shape (K, X + 2p, Y + 2p, Z + 2p)
        Differences from the background; where none is above zero is background, elsewhere the largest one's
        label. Each label then has as many voxels as in ``labels``, up to ties. The margin ``p`` has room
        for what was smoothed.

    Examples
    --------
    >>> drawn = torch.zeros(9, 9, 9, dtype=torch.uint8)
    >>> drawn[4, 4, 2:7] = 3
    >>> values, maps = smoothed(Volume(drawn, np.eye(4)), 1.0)
    >>> values, int((maps.data[0] > 0).sum())
    ([3], 5)
    """
    spacing = np.asarray(labels.grid.spacing)
    margin = int(np.ceil(3 * sigma / spacing.min())) + 1
    x, y, z = (n + 2 * margin for n in labels.grid.shape)
    padded = labels.crop((-margin, -margin, -margin), (x, y, z))
    drawn = padded.data.numpy()
    values = [int(v) for v in np.unique(drawn[drawn > 0])]
    hot = ((drawn == v).astype(np.float32) for v in values)
    maps = np.stack([ndimage.gaussian_filter(one, sigma / spacing) for one in hot]) if values else None
    if maps is None:
        return [], padded.with_data(torch.zeros(0, *drawn.shape))
    maps -= 1 - maps.sum(0)
    counts = [int((drawn == v).sum()) for v in values]
    for _ in range(SWEEPS if sigma else 0):
        for one, count in zip(range(len(values)), counts, strict=True):
            others = np.delete(maps, one, 0).max(0, initial=0.0)
            above = np.partition((maps[one] - others).ravel(), [-count - 1, -count])
            maps[one] -= (above[-count - 1] + above[-count]) / 2
    return values, padded.with_data(torch.from_numpy(maps))


def carry(warp: Warp, labels: Volume, grid: Grid, sigma: float) -> Volume:
    """Labels on another grid, by the largest of their smoothed maps.

    Parameters
    ----------
    warp : Warp
        What resamples the labels' space onto the grid's.
    labels : Volume of integers, shape (X, Y, Z)
        Labels, 0 the background.
    grid : Grid
        Where they are wanted.
    sigma : float
        Standard deviation of the smoothing (mm); 0 takes the maps as they were drawn.

    Returns
    -------
    Volume
        Of the labels' type, on ``grid``.
    """
    values, maps = smoothed(labels, sigma)
    if not values:
        return Volume(torch.zeros(grid.shape, dtype=labels.data.dtype), grid.affine)
    moved = warp.resample(maps, grid, "linear", outside=-1.0).data
    largest, which = moved.max(0)
    found = torch.tensor(values, dtype=labels.data.dtype)[which]
    return Volume(torch.where(largest > 0, found, torch.zeros_like(found)), grid.affine)
