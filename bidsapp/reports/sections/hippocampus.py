"""The hippocampi on a participant's page: their parts enlarged, and their volumes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....models.io import outputs
from ....models.population import labels
from .. import derivatives, mosaic, scans
from ..canvas import FILL, LINE, Canvas
from ..derivatives import Result
from ..mosaic import Mosaic

IMAGE, VOLUMES = map(outputs.ending, ("hippocampus", "hippocampus_volumes"))
TABLE = "hippocampus"
ROWS = [[("coronal", 5)], [("axial", 5)]]
"""Slices through both hippocampi; each side has a row of sagittal slices below."""

MARGIN = 9.0
"""Margin (mm) around the hippocampi in the figures."""


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw both sides together, and sagittal slices of each side, with the parts in colors.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures``: file names of ``both``, ``left`` and ``right``, and of their ``fill`` and ``lines``.
    """
    found = canvas.like(canvas.read(IMAGE, np.uint8))
    table = labels.load(TABLE)
    colors = {label.index: mosaic.color_of(label.color) for label in table}
    figures: dict[str, str] = {}
    sides: dict[str, list[int]] = {"both": [label.index for label in table if label.index]}
    for label in table:
        if label.index:
            sides.setdefault(label.name.split("-")[0].lower(), []).append(label.index)
    for side, own in sides.items():
        mask = np.isin(found, own)
        if not mask.any():
            continue
        rows = ROWS if side == "both" else [[("sagittal", 4)]]
        span = scans.box_around(mask, canvas.image.spacing, 0)
        view = scans.widen(span, canvas.image, MARGIN)
        frame = Mosaic(canvas.image.affine, view, span, rows)
        drawn = frame.labels(np.where(mask, found, 0).astype(np.uint8))
        base = frame.gray(canvas.image.data, canvas.levels)
        name = f"desc-hippocampus{side}"
        figures[side] = canvas.save(base, f"{name}_{canvas.result.suffix}.webp")
        for kind, data, alpha in (("fill", drawn, FILL), ("lines", mosaic.edges(drawn, 1), LINE)):
            layer = mosaic.layer(data, colors, alpha)
            figures[f"{side}{kind}"] = canvas.save(layer, f"{name}{kind}_dseg.png")
    return {"figures": figures}


def rows(result: Result) -> list[dict[str, Any]]:
    """Return the volumes of every part and of the whole, on the left and on the right.

    Parameters
    ----------
    result : Result
        The participant-session.

    Returns
    -------
    list of dict
        ``name``, ``color``, ``left`` and ``right`` (mm3), ``asymmetry`` (percent); empty if the
        hippocampus stage did not run.
    """
    table_rows = derivatives.read_tsv(result.file(VOLUMES))
    found = {row.get("name"): derivatives.number(row.get("volume_mm3")) for row in table_rows}
    if not found:
        return []
    table = labels.load(TABLE)
    out: list[dict[str, Any]] = []
    for label in table:
        if not label.name.startswith("Left"):
            continue
        pair = [found.get(label.name), found.get(table[label.partner].name)]
        name = label.name.rpartition("-")[2].lower()
        out.append({"name": name, "color": label.color, "left": pair[0], "right": pair[1]})
    whole: dict[str, Any] = {"name": "whole", "color": ""}
    for side in ("left", "right"):
        parts = [row[side] for row in out]
        whole[side] = sum(parts) if None not in parts else None
    out.append(whole)
    return [row | {"asymmetry": asymmetry(row["left"], row["right"])} for row in out]


def asymmetry(left: float | None, right: float | None) -> float | None:
    """Return the difference left - right in percent of the mean; None if a volume is unknown or zero.

    Examples
    --------
    >>> asymmetry(3.0, 1.0), asymmetry(None, 1.0)
    (100.0, None)
    """
    return 200 * (left - right) / (left + right) if left and right else None
