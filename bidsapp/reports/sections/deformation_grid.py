"""The grid of a deformation: planes of the participant's space as lines on slices of the template."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ....models.io import itk
from ..mosaic import PLANES, Mosaic

STEP = 8.0
"""Distance (mm) of the lines before the deformation."""


def draw(frame: Mosaic, transform: Path) -> np.ndarray:
    """Draw the lines of the grid.

    Parameters
    ----------
    frame : Mosaic
        Slices in template space.
    transform : Path
        Transform that resamples the participant onto the template (``from-T1w_to-...``). Its affine part is
        removed, so that lines without a deformation are straight.

    Returns
    -------
    ndarray, shape (H, W)
        1 on a line, at the figure's resolution.
    """
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
