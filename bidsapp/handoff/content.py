"""What is wrong inside files that fMRIPrep and NiBabies would take: grids, labels, transforms."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ...models.errors import InputError

ITK_PARTS = ("AffineTransform", "DisplacementFieldTransform")
"""Parts of a composite transform that both programs' reader knows."""


def other_grid(paths: list[Path]) -> str:
    """Which file does not lie on the grid of the first."""
    import numpy as np

    try:
        shape, affine = _grid(paths[0])
        for path in paths[1:]:
            own_shape, own_affine = _grid(path)
            if own_shape != shape or not np.allclose(own_affine, affine, atol=1e-3):
                return f"{path.name} does not lie on the grid of {paths[0].name}"
    except InputError as error:
        return str(error)
    return ""


@cache
def _grid(path: Path) -> tuple[tuple[int, ...], Any]:
    import nibabel as nib

    try:
        image = nib.load(path)
    except Exception as error:
        raise InputError(path, f"it cannot be read ({' '.join(str(error).split())[:100]})") from None
    return image.shape[:3], image.affine


def odd_labels(path: Path) -> str:
    """Whether a tissue segmentation has other labels than 1 gray, 2 white matter and 3 fluid."""
    import nibabel as nib
    import numpy as np

    try:
        labels = set(np.unique(np.asarray(nib.load(path).dataobj)).tolist())
    except Exception as error:
        return f"{path.name} cannot be read ({' '.join(str(error).split())[:100]})"
    odd = sorted(labels - {0, 1, 2, 3})
    if odd:
        return f"{path.name} has label {odd[0]:g}; it must have 1 gray matter, 2 white matter, 3 fluid"
    missing = sorted({1, 2, 3} - labels)
    return f"{path.name} has no label {missing[0]}" if missing else ""


def unreadable(path: Path) -> str:
    """What of an HDF5 transform the programs' reader would not take."""
    if path.suffix != ".h5":
        return ""
    import h5py

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
        return f"{path.name} holds no composite transform"
    odd = [text for text in texts[1:] if not text.startswith(ITK_PARTS)]
    return f"{path.name} holds a {odd[0]}, which their reader does not know" if odd else ""
