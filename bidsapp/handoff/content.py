"""Content of files that fMRIPrep and NiBabies take: grids, labels, transforms."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...models.errors import InputError
from ...models.io.images import open_image

ITK_PARTS = ("AffineTransform", "DisplacementFieldTransform")
"""Parts of a composite transform that both programs can read."""


def other_grid(paths: list[Path]) -> str:
    """Return the problem if a file has another grid than the first; else an empty text."""
    try:
        shape, affine = _grid(paths[0])
        for path in paths[1:]:
            own_shape, own_affine = _grid(path)
            if own_shape != shape or not np.allclose(own_affine, affine, atol=1e-3):
                return f"{path.name} has another grid than {paths[0].name}"
    except InputError as error:
        return str(error)
    return ""


@cache
def _grid(path: Path) -> tuple[tuple[int, ...], Any]:
    try:
        image = open_image(path)
    except Exception as error:
        raise InputError(path, f"the image cannot be read ({' '.join(str(error).split())[:100]})") from None
    return image.shape[:3], image.affine


def odd_labels(path: Path) -> str:
    """Return the problem if labels are not 1 gray matter, 2 white matter, 3 CSF; else an empty text."""
    try:
        labels = set(np.unique(np.asarray(open_image(path).dataobj)).tolist())
    except Exception as error:
        return f"{path.name} cannot be read ({' '.join(str(error).split())[:100]})"
    odd = sorted(labels - {0, 1, 2, 3})
    if odd:
        return f"{path.name} has label {odd[0]:g}; expected 1 gray matter, 2 white matter, 3 CSF"
    missing = sorted({1, 2, 3} - labels)
    return f"{path.name} has no label {missing[0]}" if missing else ""


def unreadable(path: Path) -> str:
    """Return the problem if both programs cannot read an HDF5 transform; else an empty text."""
    if path.suffix != ".h5":
        return ""
    try:
        with h5py.File(path, "r") as file:
            types = [
                file["TransformGroup"][name]["TransformType"][0]
                for name in sorted(file["TransformGroup"], key=int)
            ]
    except Exception as error:
        return f"{path.name} cannot be read ({' '.join(str(error).split())[:100]})"
    texts = [t.decode() if isinstance(t, bytes) else str(t) for t in types]
    if not texts or not texts[0].startswith("CompositeTransform"):
        return f"{path.name} is not a composite transform"
    odd = [text for text in texts[1:] if not text.startswith(ITK_PARTS)]
    return f"{path.name} has a {odd[0]}, which both programs cannot read" if odd else ""
