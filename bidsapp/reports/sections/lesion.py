"""Lesions on a participant's page: drawn over the image that shows them, and a table of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....models.io import outputs
from .. import colors, derivatives, mosaic, scans
from ..canvas import LINE, Canvas
from ..derivatives import Result
from ..mosaic import Mosaic
from . import coregistration

MASK, TABLE = map(outputs.ending, ("lesion_mask", "lesion_volumes"))
ROWS = [[("axial", 5)], [("coronal", 5)], [("sagittal", 4)]]
"""Slices of the figure."""

FILL = 110
"""Opacity (0 to 255) of lesions."""

LISTED = 20
"""Lesions in the table of the page; all are in the table of the derivatives."""


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw slices through the lesions, on the image that shows them, with fill and outlines.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures``: file names of ``base``, ``fill`` and ``lines``.
    """
    found = canvas.like(canvas.read(MASK, np.uint8))
    shown, suffix = _image(canvas)
    levels = scans.window(shown, canvas.mask)
    view = scans.widen(canvas.brain_box, canvas.image, 6)
    span = canvas.brain_box
    if found.any():  # slices are spread over the lesions, not over the brain
        span = scans.box_around(found > 0, canvas.image.spacing, 4)
    frame = Mosaic(canvas.image.affine, view, span, ROWS)
    drawn = frame.labels(found)
    figures = {"base": canvas.save(frame.gray(shown, levels), f"desc-lesion_{suffix}.webp")}
    for kind, labels, alpha in (("fill", drawn, FILL), ("lines", mosaic.edges(drawn, 1), LINE)):
        layer = mosaic.layer(labels, {1: mosaic.color_of(colors.LESION)}, alpha)
        figures[kind] = canvas.save(layer, f"desc-lesion{kind}_mask.png")
    return {"figures": figures}


def _image(canvas: Canvas) -> tuple[np.ndarray, str]:
    """Return data and suffix of the image that lesions were found in; of the reference on another grid."""
    wanted = canvas.result.sidecar(MASK).get("Contrast", canvas.result.suffix)
    for suffix, path in coregistration.found(canvas.result):
        if suffix == wanted:
            scan = scans.read(path, np.float32)
            if canvas.on_grid(scan):
                return scan.data, suffix
    return canvas.image.data, canvas.result.suffix


def context(result: Result) -> dict[str, Any]:
    """Return what the page shows of lesions.

    Parameters
    ----------
    result : Result
        The participant-session.

    Returns
    -------
    dict
        ``count``, ``volume`` (mm3), ``contrast``, ``license`` of the network, ``rows`` of the table and
        ``left``, the number of lesions that are not in it; empty if the lesion stage did not run.
    """
    if result.file(MASK) is None:
        return {}
    rows = derivatives.read_tsv(result.file(TABLE))
    volumes = [derivatives.number(row.get("volume_mm3")) or 0.0 for row in rows]
    return {
        "count": len(rows),
        "volume": sum(volumes),
        "contrast": result.sidecar(MASK).get("Contrast", ""),
        "license": _license(result.sidecar(MASK)),
        "left": max(0, len(rows) - LISTED),
        "rows": [
            {
                "number": row.get("lesion"),
                "volume": volume,
                "center": ", ".join(str(row.get(axis, "")) for axis in "xyz"),
                "probability": derivatives.number(row.get("probability")),
            }
            for row, volume in zip(rows[:LISTED], volumes, strict=False)
        ],
    }


def _license(sidecar: dict[str, Any]) -> str:
    """License of the network; earlier versions wrote its key in British spelling."""
    return sidecar.get("NetworkLicense") or sidecar.get("NetworkLicence", "")
