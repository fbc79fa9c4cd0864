"""Preparation of images of hippocampi with labels for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ...models.errors import UsageError
from ...models.geometry.cropping import strip_padding
from ...models.geometry.volume import Volume
from ...models.io import conform
from ..data.arrays import write_arrays
from ..evaluation.label_files import read_labels
from .generator import cases, split

MINIMUM = 10
"""Minimum number of cases of a folder."""

TOP = 0.999
"""Quantile of the intensities that is stored as 255."""


def read(image: Path, labels: Path) -> tuple[Volume, Volume]:
    """Return image and labels of a case in canonical orientation, without padding, of one shape."""
    scan, truth = strip_padding(conform.read(image, least_mm=10.0).canonical()), read_labels(labels)
    start = np.linalg.inv(truth.affine) @ scan.affine[:, 3]
    x, y, z = (round(float(s)) for s in start[:3])
    return scan, truth.crop((x, y, z), scan.grid.shape)


def prepare(found: dict[str, tuple[Path, Path]], out: Path) -> None:
    """Write prepared arrays of images and labels, uint8 each.

    Parameters
    ----------
    found : dict of str to tuple of Path
        Image and labels of every case by name.
    out : Path
        File to write (npz).
    """
    arrays: dict[str, np.ndarray] = {}
    for k, (image, labels) in enumerate(found.values()):
        scan, truth = read(image, labels)
        top = float(torch.quantile(scan.data.flatten(), TOP))
        arrays[f"image{k}"] = ((scan.data / top).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        arrays[f"labels{k}"] = truth.data.to(torch.uint8).numpy()
    meta = {"count": len(found), "names": list(found)}
    write_arrays(out, meta, arrays)


def prepare_split(folder: Path, out: Path, *, merge: bool = False) -> tuple[Path, Path | None]:
    """Prepare the cases for training and validation of a folder, unless their arrays exist.

    Parameters
    ----------
    folder : Path
        Folder with ``images`` and ``labels``.
    out : Path
        Folder for the arrays.
    merge : bool
        Whether the validation cases train too.

    Returns
    -------
    tuple of Path, Path or None
        Arrays for training and for validation.

    Raises
    ------
    UsageError
        If there are too few cases for a split.
    """
    found = cases(folder)
    if len(found) < MINIMUM:
        raise UsageError(
            folder,
            f"{len(found)} cases are too few for a split",
            f"Give images/ and labels/ of at least {MINIMUM} cases",
        )
    out.mkdir(parents=True, exist_ok=True)
    parts = split(list(found))
    if merge:
        parts = {"merged": sorted(parts["training"] + parts["validation"])}
    paths = {name: out / f"{name}.npz" for name in parts if name != "test"}
    for name, path in paths.items():
        if not path.is_file():
            prepare({case: found[case] for case in parts[name]}, path)
    return paths["merged" if merge else "training"], paths.get("validation")
