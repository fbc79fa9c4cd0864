"""The alignment on a participant's page: image and template take turns, in the first of the output spaces."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ....models.templates import spaces
from ....models.templates.spaces import Space
from .. import mosaic
from ..derivatives import Result
from ..mosaic import Mosaic, Scan
from . import deformation_grid

if TYPE_CHECKING:
    from ..drawing import Artist

MASK_COLOR, TEMPLATE_COLOR, GRID_COLOR = (255, 176, 0), (86, 200, 255), (120, 230, 120)
IMAGE, MASK, TISSUE = "desc-preproc_*.nii.gz", "desc-brain_mask.nii.gz", "dseg.nii.gz"
IN_SPACE = re.compile(
    r"_space-([0-9A-Za-z]+)(?:_cohort-([0-9A-Za-z]+))?(?:_res-([0-9A-Za-z]+))?_desc-brain_mask"
)


def space_of(result: Result) -> Space | None:
    """The space that the page shows: the default template's, or else the first in name order."""
    if result.prefix is None:
        return None
    found = [IN_SPACE.search(path.name) for path in sorted(result.folder.glob(f"anat/*_space-*_{MASK}"))]
    known = [Space(m[1], m[2], m[3]) for m in found if m and m[1] not in ("T1w", "T2w", "FLAIR")]
    mine = [space for space in known if result.file(f"{space.entities}_{MASK}")]
    return min(mine, key=lambda space: space.name != spaces.DEFAULT, default=None)


def files(result: Result) -> list[str]:
    """Endings of the derivatives that the pictures are made of."""
    space = space_of(result)
    return [f"{space.entities}_{ending}" for ending in (IMAGE, MASK, TISSUE)] if space else []


def draw(artist: Artist) -> dict[str, Any]:
    """Image and template on the template's grid, each with its outlines, and the grid that was bent."""
    space = space_of(artist.result)
    assert space is not None
    image = artist._read(f"{space.entities}_{IMAGE}", np.float32)
    mask = artist._read(f"{space.entities}_{MASK}", np.uint8).data
    tissue = artist._read(f"{space.entities}_{TISSUE}", np.uint8).data
    template, template_mask = _template(space, image)
    box = mosaic.box_around((mask > 0) | (template_mask > 0), image.spacing, 0)
    frame = Mosaic(image.affine, mosaic.widen(box, image, 5), box, mosaic.ROWS)
    outline = mosaic.edges(frame.labels((mask > 0).astype(np.uint8)), 2)
    white = mosaic.edges(frame.labels((tissue == 2).astype(np.uint8)), 1)
    lines = mosaic.layer(np.maximum(outline, white), {1: MASK_COLOR}, 255)
    levels = mosaic.window(image.data, mask)
    pictures = {
        "base": artist._save(frame.gray(image.data, levels), f"{space.entities}_desc-image.webp"),
        "lines": artist._save(lines, f"{space.entities}_desc-lines_dseg.png"),
    }
    transform = artist.result.file(f"from-*_to-{space.label}_mode-image_xfm.h5")
    if transform is not None:
        bent = mosaic.layer(deformation_grid.draw(frame, transform), {1: GRID_COLOR}, 200)
        pictures["grid"] = artist._save(bent, f"{space.entities}_desc-grid.png")
    found: dict[str, Any] = {"pictures": pictures}
    if template is not None:
        line = mosaic.edges(frame.labels((template_mask > 0).astype(np.uint8)), 2)
        shown = frame.gray(template, mosaic.window(template, template_mask))
        pictures["template"] = artist._save(shown, f"{space.entities}_desc-template.webp")
        pictures["outline"] = artist._save(
            mosaic.layer(line, {1: TEMPLATE_COLOR}, 255), f"{space.entities}_desc-template_mask.png"
        )
        both = np.count_nonzero((mask > 0) & (template_mask > 0))
        found["dice"] = round(2 * both / (np.count_nonzero(mask) + np.count_nonzero(template_mask)), 4)
    return found


def _template(space: Space, like: Scan) -> tuple[np.ndarray | None, np.ndarray]:
    """Template image and mask on the grid of an image in its space; no image without the template."""
    shape, affine = like.data.shape, like.affine
    try:
        image, mask = _template_scans(space)
    except Exception:  # the page does without
        return None, np.zeros(shape, np.uint8)
    return image.onto(shape, affine).data, (mask.onto(shape, affine, order=0).data > 0).astype(np.uint8)


@cache
def _template_scans(space: Space) -> tuple[Scan, Scan]:
    from ....models.templates import bundled

    found = spaces.find(space)
    if found is not None and found.mask is not None:
        return mosaic.read(found.image, np.float32), mosaic.read(found.mask, np.uint8)
    template = bundled.load(space.label)
    image, mask = template.image.canonical(), template.mask.canonical()
    return Scan(image.data.numpy(), image.affine), Scan(mask.data.numpy(), mask.affine)
