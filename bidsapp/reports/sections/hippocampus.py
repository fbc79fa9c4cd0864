"""The hippocampi on a participant's page: their parts, drawn large, and how large they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ....models.population import labels
from .. import derivatives, mosaic
from ..derivatives import Result
from ..mosaic import Mosaic

if TYPE_CHECKING:
    from ..drawing import Artist

IMAGE, VOLUMES = "desc-hippocampus_dseg.nii.gz", "desc-hippocampus_volumes.tsv"
TABLE = "hippocampus"
ROWS = [[("coronal", 5)], [("axial", 5)]]
"""Slices through both hippocampi; one row of sagittal ones for each side comes below."""

MARGIN = 9.0
"""Room (mm) around the hippocampi in the pictures."""


def draw(artist: Artist) -> dict[str, Any]:
    """Pictures of both sides together, and of each in sagittal slices, with the parts in colours."""
    found = artist._like(artist._read(IMAGE, np.uint8))
    table = labels.load(TABLE)
    colors = {label.index: mosaic.color_of(label.color) for label in table}
    pictures: dict[str, str] = {}
    sides: dict[str, list[int]] = {"both": [label.index for label in table if label.index]}
    for label in table:
        if label.index:
            sides.setdefault(label.name.split("-")[0].lower(), []).append(label.index)
    for side, own in sides.items():
        mask = np.isin(found, own)
        if not mask.any():
            continue
        rows = ROWS if side == "both" else [[("sagittal", 4)]]
        span = mosaic.box_around(mask, artist.image.spacing, 0)
        view = mosaic.widen(span, artist.image, MARGIN)
        frame = Mosaic(artist.image.affine, view, span, rows)
        drawn = frame.labels(np.where(mask, found, 0).astype(np.uint8))
        image = frame.gray(artist.image.data, artist.levels)
        layer = {"fill": drawn, "lines": mosaic.edges(drawn, 1)}
        name = f"desc-hippocampus{side}"
        pictures[side] = artist._save(image, f"{name}_{artist.result.suffix}.webp")
        for kind, alpha in (("fill", 105), ("lines", 255)):
            picture = mosaic.layer(layer[kind], colors, alpha)
            pictures[f"{side}{kind}"] = artist._save(picture, f"{name}{kind}_dseg.png")
    return {"pictures": pictures}


def rows(result: Result) -> list[dict[str, Any]]:
    """Volume of every part on the left and on the right, and of the whole; empty if the step was off."""
    found = {row.get("name"): derivatives.number(row.get("volume_mm3")) for row in _table(result)}
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
    return [row | {"asymmetry": _asymmetry(row["left"], row["right"])} for row in out]


def _table(result: Result) -> list[dict[str, str]]:
    return derivatives.read_tsv(result.file(VOLUMES))


def _asymmetry(left: float | None, right: float | None) -> float | None:
    """Difference left - right in per cent of the mean."""
    return 200 * (left - right) / (left + right) if left and right else None
