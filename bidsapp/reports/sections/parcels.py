"""Parcels of atlases on a participant's page: a figure of each atlas over the cortex, and what it holds."""

from __future__ import annotations

import colorsys
import re
from typing import Any

import numpy as np
from PIL import Image

from ....models.io import outputs
from .. import derivatives, mosaic
from ..canvas import FILL, LINE, Canvas
from ..derivatives import Result
from ..mosaic import Mosaic

ROWS = [[("axial", 5)], [("coronal", 5)], [("sagittal", 4)]]
"""Slices of the figure."""

CODES = 250
"""Colors of a figure: parcels take them in turn, those of both hemispheres from the two ends of the table."""

CORTICAL = 0.5
"""Volume of all parcels, relative to that of the cortex, from which they should cover it."""

NAME = re.compile(r"_seg-([0-9A-Za-z]+)_")


def found(result: Result) -> list[str]:
    """Return the atlases with parcels, by the names in their files."""
    if result.prefix is None:
        return []
    names = [NAME.search(name) for name in result.listed if name.startswith(f"{result.prefix}_seg-")]
    labels = dict.fromkeys(m[1] for m in names if m)
    return [label for label in labels if result.file(image_of(label)) is not None]


def image_of(atlas: str) -> str:
    """Return the ending of the parcels of an atlas."""
    return outputs.ending("parcels", atlas=atlas)


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw the parcels of every atlas in colors over the brain.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures``: file names of ``base``, and of ``NAMEfill`` and ``NAMElines`` of every atlas.
    """
    frame = Mosaic(canvas.image.affine, canvas.brain_view, canvas.brain_box, ROWS)
    base = frame.gray(canvas.image.data, canvas.levels)
    figures = {"base": canvas.save(base, f"desc-parcels_{canvas.result.suffix}.webp")}
    for atlas in found(canvas.result):
        data = _sampled(frame, canvas.like(canvas.read(image_of(atlas), np.int32)))
        drawn = np.where(data > 0, (data - 1) % CODES + 1, 0).astype(np.uint8)
        for kind, values, alpha in (("fill", drawn, FILL), ("lines", mosaic.edges(drawn, 1), LINE)):
            layer = mosaic.layer(values, COLORS, alpha)
            figures[f"{atlas}{kind}"] = canvas.save(layer, f"desc-{atlas}{kind}_dseg.png")
    return {"figures": figures}


def _sampled(frame: Mosaic, data: np.ndarray) -> np.ndarray:
    """Return labels at the figure's resolution by the nearest voxel: smooth outlines of hundreds are slow."""
    out = np.zeros((frame.height, frame.width), np.int32)
    for panel in frame.panels:
        plane = Image.fromarray(frame.cut(data, panel))
        size = panel.width, panel.height
        part = np.asarray(plane.resize(size, Image.Resampling.NEAREST))
        out[panel.top : panel.top + panel.height, panel.left : panel.left + panel.width] = part
    return out


def _colors() -> dict[int, mosaic.Color]:
    """Return a color for every code; neighbors differ in hue."""
    out = {}
    for code in range(1, CODES + 1):
        red, green, blue = colorsys.hsv_to_rgb(code * 0.618 % 1, 0.75 + 0.25 * (code % 2), 1.0)
        out[code] = (round(255 * red), round(255 * green), round(255 * blue))
    return out


COLORS = _colors()


def rows(result: Result) -> list[dict[str, Any]]:
    """Return what the page says of every atlas.

    Parameters
    ----------
    result : Result
        The participant-session.

    Returns
    -------
    list of dict
        ``name``, ``title``, ``count`` of the parcels with a voxel, ``volume`` and ``gm_volume`` (mm3) of all,
        ``cortical`` (whether they are as large as the cortex), ``filled`` and ``left`` (voxels), and ``file``
        of the table.
    """
    out = []
    for atlas in found(result):
        table = outputs.ending("parcel_morph", atlas=atlas)
        cells = derivatives.read_tsv(result.file(table))
        about = result.sidecar(image_of(atlas))
        named = about.get("Atlas")
        volumes = [derivatives.number(row.get("volume_mm3")) or 0.0 for row in cells]
        cortex = result.volumes.get("cortex_gm") or 0.0
        out.append(
            {
                "name": atlas,
                "title": str(named.get("title") or atlas) if isinstance(named, dict) else atlas,
                "count": sum(volume > 0 for volume in volumes),
                "volume": sum(volumes),
                "cortical": sum(volumes) >= CORTICAL * cortex,
                "gm_volume": sum(derivatives.number(row.get("gm_volume_mm3")) or 0.0 for row in cells),
                "filled": derivatives.number(about.get("FilledVoxels")),
                "left": derivatives.number(about.get("VoxelsWithoutParcel")),
                "file": table,
            }
        )
    return out
