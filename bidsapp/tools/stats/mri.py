"""The images of FreeSurfer's folder ``mri``, made of the derivatives of a participant-session."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....interfaces.io import files
from ....models.errors import BrainsegError
from ....models.geometry.volume import Volume
from ....models.io import conform, freesurfer, images, outputs
from ...reports.derivatives import PREPROC, Result

NEEDED = (PREPROC, outputs.ending("mask"), outputs.ending("structures"))
"""Derivatives without which there are no images."""

WHITE = (2, 41)
"""White matter of both sides (FreeSurfer ids)."""


def missing(result: Result) -> list[str]:
    """Return the endings of derivatives that the images need and that do not exist."""
    return [ending for ending in NEEDED if result.file(ending) is None]


def write(result: Result, folder: Path) -> list[str]:
    """Write ``orig``, ``T1``, ``brainmask``, ``aseg`` and ``aparc+aseg`` (MGZ) and return notes.

    Parameters
    ----------
    result : Result
        A participant-session with all derivatives of ``NEEDED``.
    folder : Path
        The folder ``mri``.

    Raises
    ------
    BrainsegError
        If a derivative cannot be read, or a file cannot be written.
    """
    preproc, mask, structures = (_read(result, ending) for ending in NEEDED)
    grid, moved = freesurfer.conformed_grid(mask.grid, mask)
    acquired, notes = _acquired(result, preproc)
    if moved:
        notes.append("the images are centered on the brain, which would not fit otherwise")
    labels = freesurfer.labels(structures, grid)
    t1 = freesurfer.normalized(freesurfer.image(preproc, grid), np.isin(labels, WHITE))
    inside = freesurfer.labels(mask.with_data((mask.data > 0).short()), grid) > 0
    found: dict[str, np.ndarray] = {
        "orig": freesurfer.as_bytes(freesurfer.image(acquired, grid)),
        "T1": t1,
        "brainmask": np.where(inside, t1, 0).astype(np.uint8),
        "aseg": labels,
    }
    if result.file(outputs.ending("aparcaseg")) is None:
        notes.append("there are no parcels of the cortex, so no aparc+aseg.mgz")
    else:
        found["aparc+aseg"] = freesurfer.labels(_read(result, outputs.ending("aparcaseg")), grid)
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in found.items():
        with files.whole(folder / f"{name}.mgz") as file:
            file.write(freesurfer.packed(values, grid))
    return notes


def _read(result: Result, ending: str) -> Volume:
    path = result.file(ending)
    assert path is not None
    return images.read(path)


def _acquired(result: Result, preproc: Volume) -> tuple[Volume, list[str]]:
    """Return the source image if it is there and lies as the results do; else the corrected one, and why."""
    source, why = result.source, "the source image is not there"
    if source is not None:
        try:
            found = conform.read(source)
        except BrainsegError as error:
            why = f"the source image cannot be read ({error.reason})"
        else:
            alike = found.grid.shape == preproc.grid.shape and found.data.ndim == 3
            if alike and np.allclose(found.affine, preproc.affine, atol=1e-3):
                return found, []
            why = "the source image lies otherwise than the results"
    return preproc, [f"orig.mgz is the bias-corrected image, for {why}"]
