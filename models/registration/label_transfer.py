"""Label transfer along a warp, without the steps of manual labels.

Manual labels, drawn slice by slice, have steps of a voxel along their borders. Each label's map is therefore
smoothed first. As smoothing shrinks thin and pointed parts, each map is then raised until its label has its
original number of voxels.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from ..deformation.warp import Warp
from ..geometry.volume import Grid, Volume

SWEEPS = 8
"""Number of volume corrections of every label; each one also changes its neighbors."""


def smoothed(labels: Volume, sigma: float) -> tuple[list[int], Volume]:
    """Return the excess of each label's smoothed map over the background's.

    Parameters
    ----------
    labels : Volume of integers, shape (X, Y, Z)
        A few labels, 0 the background.
    sigma : float
        Standard deviation of the Gaussian (mm).

    Returns
    -------
    values : list of int
        The K labels.
    maps : Volume, shape (K, X + 2p, Y + 2p, Z + 2p)
        Differences from the background. A voxel without a positive difference is background; elsewhere the
        largest difference decides. Up to ties, each label has as many voxels as in ``labels``. The margin
        ``p`` holds the smoothed borders.

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


def transfer(warp: Warp, labels: Volume, grid: Grid, sigma: float) -> Volume:
    """Transfer labels to another grid, by the largest of their smoothed maps.

    Parameters
    ----------
    warp : Warp
        Warp that resamples from the labels' space to the grid's.
    labels : Volume of integers, shape (X, Y, Z)
        Labels, 0 the background.
    grid : Grid
        Target grid.
    sigma : float
        Standard deviation of the smoothing (mm); 0 leaves the maps unsmoothed.

    Returns
    -------
    Volume
        Labels of the same type on ``grid``.
    """
    values, maps = smoothed(labels, sigma)
    if not values:
        return Volume(torch.zeros(grid.shape, dtype=labels.data.dtype), grid.affine)
    moved = warp.resample(maps, grid, "linear", outside=-1.0).data
    largest, which = moved.max(0)
    found = torch.tensor(values, dtype=labels.data.dtype)[which]
    return Volume(torch.where(largest > 0, found, torch.zeros_like(found)), grid.affine)
