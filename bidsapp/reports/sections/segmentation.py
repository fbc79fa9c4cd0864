"""The segmentation on a participant's page: structures, tissues and the viewer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....models.io.atomic import write_text
from .. import colors, mosaic, scans, viewer
from ..canvas import DSEG, Canvas
from ..scans import Scan

BINS = 80
"""Bins of the histograms of intensities."""


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw the structures in the colors of the label table.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures``: file names of ``base``, ``fill`` and ``lines``.
    """
    return {"figures": canvas.overlays(canvas.structures, canvas.colors, "aseg")}


def draw_tissues(canvas: Canvas) -> dict[str, Any]:
    """Draw gray matter, white matter and CSF, and count their intensities.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures`` (file names of ``base``, ``fill`` and ``lines``) and ``histograms`` (share of voxels in
        each bin, by dseg value as text).
    """
    values = {}
    box = scans.box_around(canvas.dseg > 0, canvas.image.spacing, 0)
    image, tissue = (
        Scan(data, canvas.image.affine).crop(box).data for data in (canvas.image.data, canvas.dseg)
    )
    for label in colors.tissues():
        inside = image[tissue == label.index]
        if inside.size:
            count = np.histogram(inside, BINS, canvas.levels)[0]
            shares = [round(float(x), 5) for x in count / count.sum()] if count.sum() else []
            values[str(label.index)] = shares
    palette = {label.index: mosaic.color_of(label.color) for label in colors.tissues()}
    return {"figures": canvas.overlays(canvas.dseg, palette, "tissue"), "histograms": values}


def draw_viewer(canvas: Canvas) -> dict[str, Any]:
    """Write the brain at 1 mm with its labels as a script that the page loads on demand.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures``: file name of ``script``.
    """
    box = scans.widen(canvas.brain_box, canvas.image, 8)

    def crop(data: np.ndarray) -> Scan:
        return Scan(data, canvas.image.affine).crop(box)

    tissue = canvas.dseg if canvas.has(DSEG) else np.zeros_like(canvas.mask)
    script = viewer.pack(
        canvas.image.crop(box),
        canvas.levels,
        structures=crop(canvas.structures),
        tissues=crop(tissue | ((canvas.mask > 0).astype(np.uint8) << 3)),
        names=[label.index for label in canvas.table],
    )
    path = canvas.result.figures / f"{canvas.result.key}_desc-viewer_dseg.js"
    write_text(path, script)
    return {"figures": {"script": path.name}}
