"""Other contrasts on a participant's page: drawn with outlines of the reference, and how far they moved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import derivatives, mosaic
from ..derivatives import Result

if TYPE_CHECKING:
    from ..drawing import Artist

OUTLINE = (255, 176, 0)
WORDS = {"mask": "brain mask", "structures": "structures", "dseg": "tissues", "GM": "", "WM": "", "CSF": ""}


def found(result: Result) -> list[tuple[str, Path]]:
    """Suffix and preprocessed image of every other contrast.

    Contrasts whose image lies on its own grid (for NiBabies) are among them.
    """
    own = result.file("desc-preproc_*.nii.gz")
    paths = [p for p in sorted(result.folder.glob("anat/*_desc-preproc_*.nii.gz")) if "_space-" not in p.name]
    listed = [(path.name.split("_")[-1].removesuffix(".nii.gz"), path) for path in paths if path != own]
    return [(suffix, path) for suffix, path in listed if suffix != result.suffix]


def draw(artist: Artist) -> dict[str, Any]:
    """Pictures of those on the reference's grid, and the outlines of its brain and white matter."""
    pictures: dict[str, str] = {}
    for suffix, path in found(artist.result):
        scan = mosaic.read(path, np.float32)
        same = scan.data.shape == artist.image.data.shape
        if not same or not np.allclose(scan.affine, artist.image.affine, atol=1e-2):
            continue
        levels = mosaic.window(scan.data, artist.mask)
        pictures[suffix] = artist._save(
            artist.brain.gray(scan.data, levels), f"desc-coregistered_{suffix}.webp"
        )
    if pictures:
        tissue = artist.dseg if artist.result.file("dseg.nii.gz") else np.zeros_like(artist.mask)
        shown = np.where(tissue == 2, 2, (artist.mask > 0).astype(np.uint8)).astype(np.uint8)
        line = mosaic.edges(artist.brain.labels(shown), 1)
        layer = mosaic.layer(line, {1: OUTLINE, 2: OUTLINE}, 255)
        pictures["lines"] = artist._save(layer, "desc-coregisteredlines_dseg.png")
    return {"pictures": pictures}


def rows(result: Result, pictures: dict[str, str]) -> list[dict[str, Any]]:
    """What the page shows of each: its name, its picture if it was drawn, and how far it was moved."""
    out = []
    for suffix, path in found(result):
        about = derivatives.read_json(path.with_name(path.name.replace(".nii.gz", ".json")))
        stem = path.name.split("_desc-preproc_")[0]
        if "Rotation" not in about:  # on its own grid: the transform knows
            about = derivatives.read_json(
                path.with_name(f"{stem}_from-{suffix}_to-{result.suffix}_mode-image_xfm.json")
            )
        turned, moved = (derivatives.number(about.get(name)) for name in ("Rotation", "Translation"))
        out.append(
            {
                "suffix": suffix,
                "name": f"{stem}_{suffix}",
                "picture": pictures.get(suffix),
                "turned": turned,
                "moved": moved,
            }
        )
    return out


def facts(result: Result) -> list[tuple[str, str]]:
    """Of what the reference is made, and what was given.

    Examples
    --------
    >>> facts(Result(Path("out"), "sub-1", {"averaged": ["a", "b"], "given": {"mask": "/x/m.nii.gz"}}))
    [('Reference', 'average of 2 images'), ('Given', 'brain mask')]
    """
    averaged, given = result.status.get("averaged"), result.status.get("given")
    out = []
    if isinstance(averaged, list) and averaged:
        out.append(("Reference", f"average of {len(averaged)} images"))
    if isinstance(given, dict) and given:
        ways = [f"transforms to {role.partition(':')[2]}" for role in given if role.startswith("forward:")]
        words = [WORDS.get(role, "") for role in given] + ways
        out.append(("Given", ", ".join(filter(None, words))))
    return out
