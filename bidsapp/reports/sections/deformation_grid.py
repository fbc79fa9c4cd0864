"""The grid of a deformation: straight lines of the participant's space as they lie in the template's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..mosaic import PLANES, Mosaic

STEP = 8.0
"""Distance (mm) of the lines before the deformation."""


def draw(frame: Mosaic, transform: Path) -> np.ndarray:
    """Lines at the picture's resolution, shape (H, W), 1 on a line.

    Parameters
    ----------
    frame : Mosaic
        Slices in template space.
    transform : Path
        What resamples the participant onto the template (``from-T1w_to-...``); its affine part is taken out,
        so that lines without a deformation are straight.
    """
    from ....models.io import itk

    warp = itk.read(transform)
    back = np.linalg.inv(warp.matrix)
    out = np.zeros((frame.height, frame.width), np.uint8)
    for panel in frame.panels:
        across, up, through = PLANES[panel.plane]
        lines = [np.arange(*frame.view[across]), np.arange(*frame.view[up])[::-1]]
        voxel = np.zeros((len(lines[1]), len(lines[0]), 3))
        voxel[..., across], voxel[..., up] = np.meshgrid(*lines)
        voxel[..., through] = panel.index
        points = voxel @ frame.affine[:3, :3].T + frame.affine[:3, 3]
        found = warp.points(points) @ back[:3, :3].T + back[:3, 3]
        part = np.zeros((panel.height, panel.width), bool)
        for axis in (across, up):
            place = Image.fromarray((found[..., axis] / STEP).astype(np.float32))
            cell = np.floor(np.asarray(place.resize((panel.width, panel.height), Image.Resampling.BILINEAR)))
            part[:, 1:] |= cell[:, 1:] != cell[:, :-1]
            part[1:] |= cell[1:] != cell[:-1]
        out[panel.top : panel.top + panel.height, panel.left : panel.left + panel.width] = part
    return out
