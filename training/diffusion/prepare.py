"""Preparation of images of brains for latent diffusion: brains alone, upright, in one box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ...models.errors import InputError
from ...models.geometry.volume import Grid, Volume, resample
from ...models.io import conform
from ...models.preprocessing import bias
from ...models.segmentation import skullstrip
from ..data.arrays import write_arrays

TOP = 0.99
"""Quantile of the brain's intensities that becomes 1."""

BRIGHTEST = 1.2
"""Largest value."""


def prepare(paths: Sequence[Path], out: Path, shape: Sequence[int], spacing: float) -> None:
    """Write the brains of images, corrected for bias, with intensities from 0 to 1 and 0 outside.

    Parameters
    ----------
    paths : sequence of Path
        Images.
    out : Path
        File to write (npz); it contains images of people, so do not share it.
    shape, spacing : sequence of int, float
        Box: number of voxels and voxel size (mm).

    Raises
    ------
    InputError
        If an image has no brain, or one that does not fit into the box.
    """
    arrays: dict[str, np.ndarray] = {}
    for k, path in enumerate(paths):
        try:
            scan = conform.read(path).canonical()
            mask = skullstrip.skullstrip(scan).mask
        except InputError as error:
            raise InputError(error.path or path, error.reason, error.remedy) from None
        image, _ = bias.correct(scan, mask)
        arrays[f"x{k}"] = boxed(image, mask, shape, spacing, path).half().numpy()
        print(f"{path.name}: prepared", flush=True)
    meta = {"names": [path.name for path in paths], "shape": list(shape), "spacing": spacing}
    write_arrays(out, meta, arrays)


def boxed(image: Volume, mask: Volume, shape: Sequence[int], spacing: float, path: Path) -> torch.Tensor:
    """Return a brain in the middle of a box, shape (X, Y, Z).

    Raises
    ------
    InputError
        If it does not fit.
    """
    where = np.argwhere(mask.data.numpy() > 0)
    corners = mask.affine[:3, :3] @ np.stack([where.min(0), where.max(0)], 1) + mask.affine[:3, 3:]
    size, room = np.abs(corners[:, 1] - corners[:, 0]), np.array(shape) * spacing
    if (size > room).any():
        reason = f"the brain of {size.round()} mm does not fit into the box of {room.round()} mm"
        raise InputError(path, reason, "Set a larger shape in the stages of the recipe")
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = corners.mean(1) - (np.array(shape) - 1) * spacing / 2
    grid = Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
    inside = resample(mask.with_data((mask.data > 0).float()), grid).data > 0.5
    values = resample(image.with_data(image.data.float()), grid).data
    top = torch.quantile(values[inside], TOP).clamp(min=1e-6)
    return torch.where(inside, (values / top).clamp(0, BRIGHTEST), 0.0)
