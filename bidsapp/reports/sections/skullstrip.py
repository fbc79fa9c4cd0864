"""The brain mask on a participant's page."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....models.geometry.axes import triple
from .. import colors, mosaic, scans
from ..canvas import LINE, Canvas
from ..mosaic import Mosaic


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw the whole field of view with the contour of the brain mask.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures``: file names of ``base`` and ``contour``.
    """
    head = scans.foreground(canvas.image.data) | (canvas.mask > 0)
    around = scans.box_around(head, canvas.image.spacing, 4, share=0.02)
    ends = zip(around, canvas.brain_view, strict=True)
    view = triple((min(a, c), max(b, d)) for (a, b), (c, d) in ends)
    frame = Mosaic(canvas.image.affine, view, canvas.brain_box, mosaic.ROWS)
    levels = scans.window(canvas.image.data, canvas.mask, headroom=1.25)
    base = frame.gray(canvas.image.data, levels)
    line = mosaic.edges(frame.labels((canvas.mask > 0).astype(np.uint8)), 2)
    contour = mosaic.layer(line, {1: mosaic.color_of(colors.MASK)}, LINE)
    return {
        "figures": {
            "base": canvas.save(base, f"desc-head_{canvas.result.suffix}.webp"),
            "contour": canvas.save(contour, "desc-brain_mask.png"),
        }
    }
