"""Agreement of two segmentations: overlap, surface distances and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import ndimage
from torch import Tensor


def dice_by_class(predicted: Tensor, reference: Tensor, least: int = 1) -> dict[int, float]:
    """Return the Dice coefficient of every class but 0 with at least ``least`` voxels in the reference.

    Parameters
    ----------
    predicted, reference : Tensor of int
        Classes, same shape.
    least : int
        Minimum number of voxels in the reference.

    Examples
    --------
    >>> dice_by_class(torch.tensor([1, 1, 2, 0]), torch.tensor([1, 2, 2, 0]))
    {1: 0.6666666865348816, 2: 0.6666666865348816}
    """
    predicted, reference = predicted.reshape(-1).long(), reference.reshape(-1).long()
    count = int(max(predicted.max(), reference.max())) + 1
    size = torch.bincount(predicted, minlength=count) + torch.bincount(reference, minlength=count)
    same = torch.bincount(reference[predicted == reference], minlength=count)
    present = torch.bincount(reference, minlength=count)
    scores = 2 * same / size.clamp(min=1)
    return {k: float(scores[k]) for k in range(1, count) if present[k] >= least}


@dataclass(frozen=True)
class Agreement:
    """Agreement of two masks of a structure; NaN where a score is not defined.

    Attributes
    ----------
    dice : float
        Dice coefficient; 0 if one mask is empty.
    hd95_mm : float
        Maximum of the two directed 95th percentiles of the surface distance (mm).
    assd_mm : float
        Mean distance (mm) over the surface voxels of both masks.
    reference_mm3, predicted_mm3 : float
        Volumes (mm3).
    volume_error_percent : float
        Predicted minus reference volume, in percent of the reference.
    """

    dice: float
    hd95_mm: float
    assd_mm: float
    reference_mm3: float
    predicted_mm3: float
    volume_error_percent: float


def agreement(
    reference: ArrayLike,
    predicted: ArrayLike,
    spacing: Sequence[float] | np.ndarray = (1.0, 1.0, 1.0),
    *,
    surfaces: bool = True,
) -> Agreement:
    """Compare two masks.

    Parameters
    ----------
    reference, predicted : array of bool, shape (X, Y, Z)
        Masks on the same grid.
    spacing : sequence of float
        Voxel size (mm) along each axis; the axes are assumed to be perpendicular.
    surfaces : bool
        Whether to compute the distances, which take most of the time.

    Examples
    --------
    >>> a, b = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    >>> a[2:5, 2:5, 2:5] = b[3:6, 2:5, 2:5] = True
    >>> found = agreement(a, b, (2.0, 1.0, 1.0))
    >>> round(found.dice, 3), found.hd95_mm, found.volume_error_percent
    (0.667, 2.0, 0.0)
    """
    reference, predicted = np.asarray(reference, bool), np.asarray(predicted, bool)
    size, found = int(reference.sum()), int(predicted.sum())
    common = int((reference & predicted).sum())
    voxel = float(np.prod(spacing))
    hd95 = assd = float("nan")
    if surfaces and size and found:
        there, back = surface_distances(reference, predicted, spacing)
        hd95 = float(max(np.percentile(there, 95), np.percentile(back, 95)))
        assd = float((there.sum() + back.sum()) / (there.size + back.size))
    return Agreement(
        dice=2 * common / (size + found) if size + found else float("nan"),
        hd95_mm=hd95,
        assd_mm=assd,
        reference_mm3=size * voxel,
        predicted_mm3=found * voxel,
        volume_error_percent=100 * (found - size) / size if size else float("nan"),
    )


def surface_distances(
    reference: np.ndarray, predicted: np.ndarray, spacing: Sequence[float] | np.ndarray = (1.0, 1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances (mm) from each surface voxel of one mask to the surface of the other, both ways.

    Surface voxels share a face with the outside of the mask.

    Parameters
    ----------
    reference, predicted : ndarray of bool, shape (X, Y, Z)
        Masks; neither may be empty.
    spacing : sequence of float
        Voxel size (mm) along each axis.

    Returns
    -------
    tuple of ndarray
        Distances from the reference to the prediction, and back.
    """
    box = _box(reference | predicted)
    surfaces = []
    for mask in (reference, predicted):
        padded = np.pad(mask[box], 1)
        surfaces.append(padded & ~ndimage.binary_erosion(padded))
    to_reference, to_predicted = (ndimage.distance_transform_edt(~s, sampling=spacing) for s in surfaces)
    return to_predicted[surfaces[0]], to_reference[surfaces[1]]


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    out = []
    for axis in range(mask.ndim):
        line = np.nonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis)))[0]
        out.append(slice(int(line[0]), int(line[-1]) + 1))
    return tuple(out)
