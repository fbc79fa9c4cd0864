"""Lesions on a participant's page: drawn over the image that shows them, and a table of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import derivatives, mosaic
from ..derivatives import Result
from ..mosaic import Mosaic
from . import coregistration

if TYPE_CHECKING:
    from ..drawing import Artist

MASK, TABLE = "label-lesion_mask.nii.gz", "desc-lesion_volumes.tsv"
COLOR = (255, 120, 30)
AXIAL = 10
"""Axial slices in the picture."""

MOST = 20
"""Lesions in the table of the page; all are in the table of the derivatives."""


def draw(artist: Artist) -> dict[str, Any]:
    """Slices through the largest lesions, of the image that shows them, with fill and outlines."""
    found = artist._like(artist._read(MASK, np.uint8))
    shown, suffix = _image(artist)
    levels = mosaic.window(shown, artist.mask)
    view = mosaic.widen(artist.brain_box, artist.image, 6)
    span = artist.brain_box
    if found.any():
        # The axial slices are spread over the lesions, not over the brain.
        own = mosaic.box_around(found > 0, artist.image.spacing, 4)
        span = (own[0], own[1], own[2])
    rows = [[("axial", AXIAL // 2)], [("coronal", 5)], [("sagittal", 4)]]
    frame = Mosaic(artist.image.affine, view, span, rows)
    drawn = frame.labels(found)
    pictures = {"base": artist._save(frame.gray(shown, levels), f"desc-lesion_{suffix}.webp")}
    for kind, labels, alpha in (("fill", drawn, 110), ("lines", mosaic.edges(drawn, 1), 255)):
        picture = mosaic.layer(labels, {1: COLOR}, alpha)
        pictures[kind] = artist._save(picture, f"desc-lesion{kind}_mask.png")
    return {"pictures": pictures}


def _image(artist: Artist) -> tuple[np.ndarray, str]:
    """The image that lesions were found in, where it lies on the reference's grid; else the reference."""
    wanted = artist.result.sidecar(MASK).get("Contrast", artist.result.suffix)
    for suffix, path in coregistration.found(artist.result):
        if suffix == wanted:
            scan = mosaic.read(path, np.float32)
            if scan.data.shape == artist.image.data.shape and np.allclose(
                scan.affine, artist.image.affine, atol=1e-2
            ):
                return scan.data, suffix
    return artist.image.data, artist.result.suffix


def context(result: Result) -> dict[str, Any]:
    """What the page says of lesions; empty if the step was off."""
    if result.file(MASK) is None:
        return {}
    rows = derivatives.read_tsv(result.file(TABLE))
    volumes = [derivatives.number(row.get("volume_mm3")) or 0.0 for row in rows]
    return {
        "count": len(rows),
        "volume": sum(volumes),
        "contrast": result.sidecar(MASK).get("Contrast", ""),
        "licence": result.sidecar(MASK).get("NetworkLicence", ""),
        "left": max(0, len(rows) - MOST),
        "rows": [
            {
                "number": row.get("lesion"),
                "volume": volume,
                "centre": ", ".join(str(row.get(axis, "")) for axis in "xyz"),
                "probability": derivatives.number(row.get("probability")),
            }
            for row, volume in zip(rows[:MOST], volumes, strict=False)
        ],
    }
