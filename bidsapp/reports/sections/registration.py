"""Registration on a participant's page: image and template alternate in one output space."""

from __future__ import annotations

import fnmatch
import re
from functools import cache
from typing import Any

import numpy as np

from ....models.io import outputs
from ....models.templates import bundled, spaces
from ....models.templates.spaces import Space
from .. import colors, mosaic, scans
from ..canvas import DSEG, LINE, MASK, PREPROC, Canvas
from ..derivatives import Result
from ..mosaic import Mosaic
from ..scans import Scan
from . import deformation_grid

GRID_OPACITY = 200
"""Opacity (0 to 255) of the grid of the deformation."""

IN_SPACE = re.compile(
    r"_space-([0-9A-Za-z]+)(?:_cohort-([0-9A-Za-z]+))?(?:_res-([0-9A-Za-z]+))?_desc-brain_mask"
)
"""Name, cohort and resolution in the name of a brain mask in an output space."""


def space_of(result: Result) -> Space | None:
    """Return the output space that the page shows: the default template, or else the first by name."""
    if result.prefix is None:
        return None
    found = [IN_SPACE.search(name) for name in fnmatch.filter(result.listed, f"*_space-*_{MASK}")]
    known = [Space(m[1], m[2], m[3]) for m in found if m and m[1] not in ("T1w", "T2w", "FLAIR")]
    own = [space for space in known if result.file(f"{space.entities}_{MASK}")]
    return min(own, key=lambda space: space.name != spaces.DEFAULT, default=None)


def files(result: Result) -> list[str]:
    """Return the endings of the derivatives that the figures show; empty without an output space."""
    space = space_of(result)
    return [f"{space.entities}_{ending}" for ending in (PREPROC, MASK, DSEG)] if space else []


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw image and template on the template's grid with their outlines, and the grid of the deformation.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures`` (file names of ``base``, ``lines``, ``grid``, ``template`` and ``outline``) and ``dice``
        of the brain masks of image and template; only ``base``, ``lines`` and ``grid`` without the template.
    """
    space = space_of(canvas.result)
    assert space is not None
    image = canvas.read(f"{space.entities}_{PREPROC}", np.float32)
    mask = canvas.read(f"{space.entities}_{MASK}", np.uint8).data
    tissue = canvas.read(f"{space.entities}_{DSEG}", np.uint8).data
    template, template_mask = _template(space, image)
    box = scans.box_around((mask > 0) | (template_mask > 0), image.spacing, 0)
    frame = Mosaic(image.affine, scans.widen(box, image, 5), box, mosaic.ROWS)
    outline = mosaic.edges(frame.labels((mask > 0).astype(np.uint8)), 2)
    white = mosaic.edges(frame.labels((tissue == 2).astype(np.uint8)), 1)
    base = frame.gray(image.data, scans.window(image.data, mask))

    def save_lines(lines: np.ndarray, color: str, name: str, opacity: int = LINE) -> str:
        layer = mosaic.layer(lines, {1: mosaic.color_of(color)}, opacity)
        return canvas.save(layer, f"{space.entities}_desc-{name}.png")

    figures = {
        "base": canvas.save(base, f"{space.entities}_desc-image.webp"),
        "lines": save_lines(np.maximum(outline, white), colors.MASK, "lines_dseg"),
    }
    transform = canvas.result.file(outputs.ending("transform", suffix="*", space=space.label))
    if transform is not None:
        grid = deformation_grid.draw(frame, transform)
        figures["grid"] = save_lines(grid, colors.GRID, "grid", GRID_OPACITY)
    if template is None:
        return {"figures": figures}
    line = mosaic.edges(frame.labels((template_mask > 0).astype(np.uint8)), 2)
    shown = frame.gray(template, scans.window(template, template_mask))
    figures["template"] = canvas.save(shown, f"{space.entities}_desc-template.webp")
    figures["outline"] = save_lines(line, colors.TEMPLATE, "template_mask")
    both = np.count_nonzero((mask > 0) & (template_mask > 0))
    dice = 2 * both / (np.count_nonzero(mask) + np.count_nonzero(template_mask))
    return {"figures": figures, "dice": round(dice, 4)}


def _template(space: Space, like: Scan) -> tuple[np.ndarray | None, np.ndarray]:
    """Return template image and mask on the grid of an image; None and an empty mask without a template."""
    shape, affine = like.data.shape, like.affine
    try:
        image, mask = _template_scans(space)
    except Exception:  # not available here; the page is made without it
        return None, np.zeros(shape, np.uint8)
    return image.onto(shape, affine).data, (mask.onto(shape, affine, order=0).data > 0).astype(np.uint8)


@cache
def _template_scans(space: Space) -> tuple[Scan, Scan]:
    """Return image and mask of a template: from TemplateFlow, or the bundled one."""
    found = spaces.find(space)
    if found is not None and found.mask is not None:
        return scans.read(found.image, np.float32), scans.read(found.mask, np.uint8)
    template = bundled.load(space.label)
    image, mask = template.image.canonical(), template.mask.canonical()
    brain = np.zeros_like(mask.data.numpy())
    inside = (slice(1, -1),) * 3  # the background of templates by age fades at the edges of their box
    brain[inside] = mask.data.numpy()[inside]
    return Scan(image.data.numpy(), image.affine), Scan(brain, mask.affine)
