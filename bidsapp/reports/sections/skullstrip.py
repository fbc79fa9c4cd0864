"""The brain mask on a participant's page, and what made the masks of a study."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from PIL import Image

from ....models.geometry.axes import triple
from ....models.io import outputs
from ....models.segmentation.result import EXTENT, PRECOMPUTED, source_words
from .. import colors, mosaic, scans
from ..canvas import LINE, Canvas
from ..derivatives import Result
from ..mosaic import Mosaic

CAVITY = outputs.ending("intracranial_mask")

COLUMN: dict[str, Any] = {
    "Description": "What made the brain mask: the name of a network, or one of the levels",
    "Levels": {name: source_words(name).capitalize() for name in (EXTENT, PRECOMPUTED)},
}
"""Entry of the column ``mask_source`` in a data dictionary."""


def column(results: list[Result]) -> dict[str, list[Any]]:
    """Return the column ``mask_source`` of the tables of a study; none if no source is known."""
    sources = [result.mask_source for result in results]
    return {"mask_source": sources} if any(sources) else {}


def split(results: list[Result]) -> dict[str, dict[str, str]]:
    """Return the sources by key, if the study has several: the page splits and lists by them."""
    sources = {result.key: result.mask_source for result in results if result.mask_source}
    return {"mask_source": sources} if len(set(sources.values())) > 1 else {}


def words(results: list[Result]) -> str:
    """Return how many masks of a study each source made, the most frequent first; empty for one source."""
    counts = Counter(sources for found in split(results).values() for sources in found.values())
    return ", ".join(f"{count} × {source_words(source)}" for source, count in counts.most_common())


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw the whole field of view with the contours of the brain mask and of the cranial cavity.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures``: file names of ``base``, ``contour`` and, where there is one, ``cavity``.
    """
    head = scans.foreground(canvas.image.data) | (canvas.mask > 0)
    around = scans.box_around(head, canvas.image.spacing, 4, share=0.02)
    ends = zip(around, canvas.brain_view, strict=True)
    view = triple((min(a, c), max(b, d)) for (a, b), (c, d) in ends)
    frame = Mosaic(canvas.image.affine, view, canvas.brain_box, mosaic.ROWS)
    levels = scans.window(canvas.image.data, canvas.mask, headroom=1.25)
    base = frame.gray(canvas.image.data, levels)

    def contour(mask: np.ndarray, color: str) -> Image.Image:
        line = mosaic.edges(frame.labels((mask > 0).astype(np.uint8)), 2)
        return mosaic.layer(line, {1: mosaic.color_of(color)}, LINE)

    figures = {
        "base": canvas.save(base, f"desc-head_{canvas.result.suffix}.webp"),
        "contour": canvas.save(contour(canvas.mask, colors.MASK), "desc-brain_mask.png"),
    }
    if canvas.has(CAVITY):
        inside = canvas.like(canvas.read(CAVITY, np.uint8))
        figures["cavity"] = canvas.save(
            contour(inside, colors.INTRACRANIAL), CAVITY.replace(".nii.gz", ".png")
        )
    return {"figures": figures}
