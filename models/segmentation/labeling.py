"""Labels, tissue probabilities and measures of the structures on the input's grid.

Probabilities are interpolated, never labels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..geometry import interval, sums
from ..geometry.axes import occupied, triple
from ..geometry.distance import nearest
from ..geometry.volume import Grid, Volume, box, resample, transform_points
from ..population import labels
from ..population.labels import LabelTable
from .result import SegmentationResult

MARGIN = 4.0
"""Margin of the box around a structure, in its own voxels, or in those of a coarser grid."""

LEAST_TOTAL = 1e-3
"""Smallest sum of probabilities by which they are divided."""


class _Sums:
    """Running sums over the structures, on the brain's part of the input grid.

    Parameters
    ----------
    grid : Grid
        That part.
    within : Tensor of bool, shape (X, Y, Z)
        Brain mask on it.
    share : Tensor, shape (X, Y, Z)
        Probability of the left side.
    table : LabelTable
        The structures.
    expected : Tensor, shape (X, Y, Z)
        Sum of the structures' probabilities, by which volumes are normalized like the tissues.
    """

    def __init__(
        self, grid: Grid, within: Tensor, share: Tensor, table: LabelTable, expected: Tensor
    ) -> None:
        shape = grid.shape
        self.grid, self.within, self.share, self.table = grid, within, share, table
        self.expected = expected.clamp(min=LEAST_TOTAL)
        self.best = torch.full(shape, 1e-6)
        self.structure = torch.zeros(shape, dtype=torch.int16)
        self.total, self.entropy = torch.zeros(shape), torch.zeros(shape)
        self.tissues = torch.zeros(len(labels.DSEG_NAMES), *shape)
        self.volumes: dict[int, float] = {}
        self.intervals: dict[int, tuple[float, float]] = {}
        self.centroids: dict[int, tuple[float, float, float]] = {}

    def add(self, index: int, probability: Volume) -> None:
        """Add one unsided structure by its FreeSurfer id and probability, on any grid.

        All is computed in the box around the structure; most are small.
        """
        probability, part, window = self._around(probability)
        p = resample(probability, part).data * self.within[window]
        self.total[window] += p
        self.entropy[window] -= torch.xlogy(p, p)
        self.tissues[labels.DSEG[self.table[index].tissue] - 1][window] += p
        better = p > self.best[window]
        self.best[window] = torch.where(better, p, self.best[window])
        partner, share = self.table[index].partner, self.share[window]
        sided = torch.where(share > 0.5, index, partner).to(torch.int16)
        self.structure[window] = torch.where(better, sided, self.structure[window])
        expected = self.expected[window]
        if partner == index:
            self._measure(index, p, expected, part)
        else:
            self._measure(index, p * share, expected, part)
            self._measure(partner, p * (1 - share), expected, part)

    def _around(self, probability: Volume) -> tuple[Volume, Grid, tuple[slice, ...]]:
        """Return a structure's probability in its box, and that box of the grid with its window."""
        some = probability.with_data(probability.data > 0)
        if not bool(some.data.any()):
            empty = Grid((1, 1, 1), self.grid.affine)
            return probability, empty, (slice(0, 1), slice(0, 1), slice(0, 1))
        coarser = max(1.0, float((self.grid.spacing / probability.grid.spacing).max()))
        near = probability.crop(*box(some, MARGIN * coarser * float(probability.grid.spacing.max())))
        to_grid = np.linalg.inv(self.grid.affine) @ near.affine
        ends = transform_points(to_grid, np.array([*np.ndindex(2, 2, 2)]) * (np.array(near.grid.shape) - 1))
        low, high = np.floor(ends.min(0)), np.ceil(ends.max(0)) + 1
        start = [min(max(0, int(a)), n - 1) for a, n in zip(low, self.grid.shape, strict=True)]
        stop = [min(max(int(b), a + 1), n) for a, b, n in zip(start, high, self.grid.shape, strict=True)]
        affine = self.grid.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ start
        part = Grid(triple(b - a for a, b in zip(start, stop, strict=True)), affine)
        return near, part, tuple(slice(a, b) for a, b in zip(start, stop, strict=True))

    def _measure(self, index: int, weight: Tensor, expected: Tensor, part: Grid) -> None:
        """Store volume, its interval and centroid of a structure of one side, from a part of the grid."""
        share = weight / expected
        volume = sums.total(share) * part.voxel_volume
        self.volumes[index] = volume
        spread = interval.deviation(share, part)
        self.intervals[index] = interval.ends(volume, spread)
        mass = sums.total(weight)
        if mass > 0:
            axes = [torch.arange(n, dtype=torch.float32) for n in part.shape]
            center = [
                float((weight.sum(tuple(a for a in range(3) if a != axis)) * axes[axis]).sum()) / mass
                for axis in range(3)
            ]
            point = part.affine[:3, :3] @ np.array(center) + part.affine[:3, 3]
            self.centroids[index] = (float(point[0]), float(point[1]), float(point[2]))


def label(
    volume: Volume, mask: Volume, posteriors: Volume, left: Volume, table: LabelTable, notes: list[str]
) -> SegmentationResult:
    """Label a scan from the posteriors of its structures, class by class to save memory.

    Parameters
    ----------
    volume, mask : Volume
        Scan and brain mask on one grid.
    posteriors : Volume, shape (C, X, Y, Z)
        Probabilities of the table's unsided structures, on any grid.
    left : Volume
        Log odds of left against right, on any grid.
    table : LabelTable
        The structures.
    notes : list of str
        Notes of the result.

    Returns
    -------
    SegmentationResult
        Structures, tissues and measures on the scan's grid.
    """
    grid = volume.grid
    inside = mask.data > 0
    window = occupied(inside.numpy())
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ [s.start for s in window]
    part = Grid(triple(s.stop - s.start for s in window), affine)
    within = inside[window]
    # Interpolation is linear: the sum of the structures' maps is the map of their sum.
    summed = Volume(
        posteriors.data[[k for k, index in enumerate(table.unsided) if index]].sum(0), posteriors.affine
    )
    sums = _Sums(part, within, resample(left, part).data.sigmoid(), table, resample(summed, part).data)
    for k, index in enumerate(table.unsided):
        if index:
            sums.add(index, Volume(posteriors.data[k], posteriors.affine))
    # At the mask's edge, interpolation loses a little to the background.
    sums.tissues /= sums.total.clamp(min=LEAST_TOTAL)
    structure = _filled(sums.structure, within, grid.spacing)
    whole = torch.zeros(grid.shape, dtype=torch.int16)
    whole[window] = structure
    probabilities = {}
    for name, values in zip(labels.DSEG_NAMES, sums.tissues, strict=True):
        out = torch.zeros(grid.shape)
        out[window] = values * within
        probabilities[name] = volume.with_data(out)
    tissue = torch.from_numpy(table.lookup("tissue"))[whole.int()]
    return SegmentationResult(
        volume.with_data(whole),
        volume.with_data(tissue),
        probabilities,
        sums.volumes,
        sums.centroids,
        notes,
        _mean_by_label(_normalized_entropy(sums.entropy, sums.total, len(table.unsided)), structure),
        intervals=sums.intervals,
    )


def _normalized_entropy(entropy: Tensor, total: Tensor, classes: int) -> Tensor:
    """Return the entropy of probabilities, divided by its maximum.

    Parameters
    ----------
    entropy : Tensor
        Sum of -p log p over the classes.
    total : Tensor
        Sum of the probabilities, which need not be one.
    classes : int
        Number of classes.
    """
    total = total.clamp(min=1e-3)
    return ((entropy / total + total.log()) / math.log(classes)).clamp(0, 1)


def _mean_by_label(values: Tensor, structure: Tensor) -> dict[int, float]:
    """Return the mean of ``values`` over the voxels of every label but 0."""
    flat = structure.reshape(-1).long()
    count = torch.bincount(flat)
    mean = torch.bincount(flat, weights=values.reshape(-1).double()) / count
    return {int(k): float(mean[k]) for k in count.nonzero()[:, 0] if k > 0}


def _filled(structure: Tensor, within: Tensor, size: np.ndarray) -> Tensor:
    """Return the labels with the unlabeled voxels of the mask filled from the nearest (mm) labeled voxel."""
    empty = within & (structure == 0)
    if not bool(empty.any()) or not bool((structure > 0).any()):
        return structure
    index, _ = nearest((structure > 0).numpy(), empty.numpy(), size)
    out = structure.clone()
    out[empty] = structure.flatten()[torch.from_numpy(index)]
    return out
