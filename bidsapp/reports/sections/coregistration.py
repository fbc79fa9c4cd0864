"""Other contrasts on a participant's page: drawn with outlines of the reference, and how far they moved."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from ....models.io import outputs
from .. import colors, derivatives, mosaic, scans
from ..canvas import DSEG, LINE, PREPROC, Canvas
from ..derivatives import Result

WORDS = {"mask": "brain mask", "structures": "structures", "dseg": "tissues", "GM": "", "WM": "", "CSF": ""}
"""Precomputed inputs as the page names them; probabilities come with the tissues."""


def found(result: Result) -> list[tuple[str, Path]]:
    """Return suffix and preprocessed image of every other contrast.

    Contrasts whose image lies on its own grid (for NiBabies) are among them.
    """
    own = result.file(PREPROC)
    names = [name for name in fnmatch.filter(result.listed, f"*_{PREPROC}") if "_space-" not in name]
    paths = [result.folder / "anat" / name for name in names]
    listed = [(path.name.split("_")[-1].removesuffix(".nii.gz"), path) for path in paths if path != own]
    return [(suffix, path) for suffix, path in listed if suffix != result.suffix]


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw the other contrasts on the reference's grid, and the outlines of its brain and white matter.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures``: file names by suffix of the contrast, and of ``lines``.
    """
    figures: dict[str, str] = {}
    for suffix, path in found(canvas.result):
        scan = scans.read(path, np.float32)
        if not canvas.on_grid(scan):
            continue
        base = canvas.brain.gray(scan.data, scans.window(scan.data, canvas.mask))
        figures[suffix] = canvas.save(base, f"desc-coregistered_{suffix}.webp")
    if figures:
        tissue = canvas.dseg if canvas.has(DSEG) else np.zeros_like(canvas.mask)
        shown = np.where(tissue == 2, 2, (canvas.mask > 0).astype(np.uint8)).astype(np.uint8)
        line = mosaic.edges(canvas.brain.labels(shown), 1)
        outline = mosaic.color_of(colors.MASK)
        layer = mosaic.layer(line, {1: outline, 2: outline}, LINE)
        figures["lines"] = canvas.save(layer, "desc-coregisteredlines_dseg.png")
    return {"figures": figures}


def rows(result: Result, figures: dict[str, str]) -> list[dict[str, Any]]:
    """Return what the page shows of each other contrast.

    Parameters
    ----------
    result : Result
        The participant-session.
    figures : dict of str to str
        File names by suffix.

    Returns
    -------
    list of dict
        ``suffix``, ``name``, ``figure`` (None if it was not drawn), ``rotation`` (degrees) and
        ``translation`` (mm).
    """
    out = []
    for suffix, path in found(result):
        sidecar = derivatives.read_json(path.with_name(path.name.replace(".nii.gz", ".json")))
        stem = path.name.split("_desc-preproc_")[0]
        if "Rotation" not in sidecar:  # on its own grid: the sidecar of the transform has it
            transform = outputs.ending("other_transform", contrast=suffix, suffix=result.suffix)
            name = f"{stem}_{transform.removesuffix('.h5')}.json"
            sidecar = derivatives.read_json(path.with_name(name))
        out.append(
            {
                "suffix": suffix,
                "name": f"{stem}_{suffix}",
                "figure": figures.get(suffix),
                "rotation": derivatives.number(sidecar.get("Rotation")),
                "translation": derivatives.number(sidecar.get("Translation")),
            }
        )
    return out


def facts(result: Result) -> list[tuple[str, str]]:
    """Return how many images the reference averages, and which inputs were precomputed.

    Examples
    --------
    >>> facts(Result(Path("out"), "sub-1", {"averaged": ["a", "b"], "precomputed": {"mask": "/x/m.nii.gz"}}))
    [('Reference', 'average of 2 images'), ('Precomputed', 'brain mask')]
    """
    averaged = result.status.get("averaged")
    precomputed = result.status.get("precomputed")
    out = []
    if isinstance(averaged, list) and averaged:
        out.append(("Reference", f"average of {len(averaged)} images"))
    if isinstance(precomputed, dict) and precomputed:
        transforms = [role.partition(":")[2] for role in precomputed if role.startswith("forward:")]
        words = [WORDS.get(role, "") for role in precomputed]
        words += [f"transforms to {space}" for space in transforms]
        out.append(("Precomputed", ", ".join(filter(None, words))))
    return out
