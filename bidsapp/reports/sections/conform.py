"""The image on a participant's page: its grid, and a thumbnail with the segmentation."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np

from ....models.io.images import open_image
from .. import mosaic
from ..canvas import ASEG, Canvas
from ..mosaic import Mosaic

WIDTH, OPACITY = 900, 110
"""Width (pixels) of the thumbnail, and opacity (0 to 255) of the structures in it."""


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw the thumbnail and describe the grid of the image as stored.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures`` (file names), ``shape`` (voxels), ``voxel`` (mm), ``orientation`` (axis codes), ``tilt``
        (degrees, against the scanner's axes) and ``mask_volume`` (mm3).
    """
    header = open_image(canvas.image_path)
    rotation = header.affine[:3, :3] / nib.affines.voxel_sizes(header.affine)
    tilt = np.degrees(np.arccos(np.clip(np.abs(rotation).max(axis=0).min(), -1, 1)))
    rows = [[(plane, 1) for plane in mosaic.PLANES]]
    frame = Mosaic(canvas.image.affine, canvas.brain_view, canvas.brain_box, rows, WIDTH)
    layers = []
    if canvas.has(ASEG):
        layers = [mosaic.layer(frame.labels(canvas.structures), canvas.colors, OPACITY)]
    base = frame.gray(canvas.image.data, canvas.levels)
    return {
        "shape": [int(n) for n in header.shape[:3]],
        "voxel": [round(float(x), 4) for x in nib.affines.voxel_sizes(header.affine)],
        "orientation": "".join(nib.aff2axcodes(header.affine)),
        "tilt": round(float(tilt), 1),
        "mask_volume": float(np.count_nonzero(canvas.mask) * canvas.image.voxel_volume),
        "figures": {"thumbnail": canvas.keep(mosaic.over(base, layers), "desc-thumbnail_dseg.webp")},
    }
