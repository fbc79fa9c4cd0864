"""Bias correction by N4 (Tustison et al. 2010), through antspyx, on a shrunken grid."""

from __future__ import annotations

import lazy_loader
import numpy as np
import torch
from scipy import ndimage

from ..geometry.volume import Volume, box

ants = lazy_loader.load("ants")
"""Imported at its first use: it takes seconds."""

MARGIN = 10.0
"""Margin (mm) around the brain in which the field is fitted."""


def correct(volume: Volume, mask: Volume, *, shrink: int = 4) -> tuple[Volume, Volume]:
    """Remove the smooth intensity field of the coils.

    Parameters
    ----------
    volume : Volume
        The scan.
    mask : Volume
        The brain, on the same grid: the field is estimated there and extrapolated smoothly.
    shrink : int
        Factor by which the grid is thinned for the estimate.

    Returns
    -------
    corrected : Volume, float32
        The scan divided by the field, with its median in the brain kept.
    field : Volume, float32
        The field, 1 on average in the brain.
    """
    whole = volume.data.numpy()
    # The spline is fitted to the brain; beyond its box the field goes on as it is at the edge.
    start, shape = box(mask, MARGIN)
    window = tuple(
        slice(max(s, 0), min(s + n, size)) for s, n, size in zip(start, shape, whole.shape, strict=True)
    )
    data = np.ascontiguousarray(whole[window])
    inside = mask.data.numpy()[window] > 0
    field = _fit(data, inside, volume.grid.spacing, shrink)
    field /= np.median(field[inside])
    around = [(w.start, size - w.stop) for w, size in zip(window, whole.shape, strict=True)]
    before, after = np.median(data[inside]), np.median((data / field)[inside])
    field = np.pad(field, around, mode="edge")
    corrected = whole / field
    if after > 0 and before > 0:
        corrected *= before / after
    return volume.with_data(torch.from_numpy(corrected.astype(np.float32))), volume.with_data(
        torch.from_numpy(field)
    )


def _fit(data: np.ndarray, inside: np.ndarray, size: np.ndarray, shrink: int) -> np.ndarray:
    """Return the bias field that N4 finds in a box, float32.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Intensities.
    inside : ndarray of bool, shape (X, Y, Z)
        Brain.
    size : ndarray, shape (3,)
        Voxel size (mm).
    shrink : int
        Factor by which the grid is thinned.
    """
    # N4 works on logarithms: what is not above zero must be.
    low = float(data[inside].min())
    positive = data - min(low, 0.0) + 1e-3 * max(float(np.abs(data[inside]).max()), 1e-6)
    spacing = [float(s) for s in size]
    # Voxels of a few mm are thin enough already. N4 thins all axes alike, but not thick slices: then the
    # other axes are thinned here.
    steps = [max(1, min(shrink, int(4.5 / s))) for s in spacing]
    factor = min(steps)
    thin = [step // factor for step in steps]
    kept = tuple(slice(None, None, n) for n in thin)
    spacing = [s * n for s, n in zip(spacing, thin, strict=True)]
    image = ants.from_numpy(np.maximum(positive, 1e-6).astype(np.float32)[kept], spacing=spacing)
    region = ants.from_numpy(inside.astype(np.float32)[kept], spacing=spacing)
    field = ants.n4_bias_field_correction(
        image,
        mask=region,
        shrink_factor=factor,
        convergence={"iters": [40, 40, 30], "tol": 1e-4},
        spline_param=200,
        return_bias_field=True,
    ).numpy()
    if max(thin) > 1:
        back = np.diag(1 / np.array(thin, float))
        field = ndimage.affine_transform(field, back, output_shape=data.shape, order=1, mode="nearest")
    return np.where(np.isfinite(field) & (field > 1e-3), field, 1.0).astype(np.float32)
