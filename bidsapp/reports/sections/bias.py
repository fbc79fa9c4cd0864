"""Bias correction on a participant's page: the image before and after, and the estimated field."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

from ....models.io.images import UNREADABLE
from .. import scans
from ..canvas import Canvas
from ..mosaic import Mosaic
from ..scans import Scan

ROWS = [[("axial", 3), ("coronal", 3), ("sagittal", 2)]]
"""Slices of each figure."""

COLORMAP = "cividis"


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw the image before and after correction, and the field.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures`` (file names of ``before``, ``after`` and ``field``), ``bias_range`` (1st and 99th
        percentile of the field in the brain; 1 is no change) and ``bias_scale`` (largest difference from 1 in
        the colors); only ``after`` if the source image is not readable.
    """
    frame = Mosaic(canvas.image.affine, canvas.brain_view, canvas.brain_box, ROWS)
    name = f"desc-{{}}_{canvas.result.suffix}.webp"
    figures = {"after": canvas.save(frame.gray(canvas.image.data, canvas.levels), name.format("corrected"))}
    source = _source(canvas)
    if source is None:
        return {"figures": figures}
    levels = scans.window(source.data, canvas.mask)
    figures["before"] = canvas.save(frame.gray(source.data, levels), name.format("acquired"))
    field = _field(source.data, canvas.image.data, canvas.mask, canvas.image.spacing, canvas.brain_view)
    low, high = (float(x) for x in np.percentile(field[canvas.mask > 0], (1, 99)))
    reach = max(high - 1, 1 - low, 0.02)
    figure = frame.color(field, (1 - reach, 1 + reach), canvas.mask, COLORMAP)
    figures["field"] = canvas.save(figure, "desc-biasfield.webp")
    return {
        "figures": figures,
        "bias_range": [round(low, 3), round(high, 3)],
        "bias_scale": round(reach, 3),
    }


def _source(canvas: Canvas) -> Scan | None:
    """Return the source image; None if it is not readable or has another grid."""
    path = canvas.result.source
    if path is None:
        return None
    try:
        source = scans.read(path, np.float32)
    except (*UNREADABLE, nib.filebasedimages.ImageFileError):
        return None
    return source if canvas.on_grid(source) else None


def _field(
    before: np.ndarray, after: np.ndarray, mask: np.ndarray, spacing: np.ndarray, box: scans.Box
) -> np.ndarray:
    """Return the smooth ratio of two images within a mask, its median 1; 1 outside a box around the mask."""
    steps = tuple(slice(None, None, max(1, round(3 / size))) for size in spacing)
    inside = (mask[steps] > 0) & (after[steps] > 1e-6) & (before[steps] > 0)
    ratio = np.where(inside, before[steps] / np.where(inside, after[steps], 1), 0).astype(np.float32)
    ratio /= np.median(ratio[inside]) if inside.any() else 1.0
    ratio = np.clip(ratio, 0.1, 10) * inside
    weight = gaussian_filter(inside.astype(np.float32), 2)
    smooth = np.where(weight > 1e-3, gaussian_filter(ratio, 2) / np.maximum(weight, 1e-3), 1).astype(
        np.float32
    )
    out = np.ones(mask.shape, np.float32)
    out[tuple(slice(*ends) for ends in box)] = _enlarged(smooth, mask.shape, box)
    return out


def _enlarged(values: np.ndarray, shape: tuple[int, ...], box: scans.Box) -> np.ndarray:
    """Return values on more voxels of one field of view, interpolated linearly, constant at its edges.

    Those in a box of the larger grid alone are computed.
    """
    for axis, (count, size, ends) in enumerate(zip(shape, values.shape, box, strict=True)):
        place = np.clip((np.arange(*ends) + 0.5) * size / count - 0.5, 0, size - 1)
        weight = np.clip(1 - np.abs(place[:, None] - np.arange(size)), 0, None).astype(np.float32)
        values = np.moveaxis(np.tensordot(weight, values, (1, axis)), 0, axis)
    return values
