"""Preparation of images of brains for latent diffusion: brains alone, upright, in one box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ...models.errors import InputError, UsageError
from ...models.geometry.volume import Grid, Volume, resample
from ...models.io import conform
from ...models.io.folders import files_below
from ...models.preprocessing import bias
from ...models.segmentation import skullstrip
from ..data.arrays import write_arrays
from ..kinds.cache import EVERY, HELD_OUT, make_if_changed

TOP = 0.99
"""Quantile of the brain's intensities that becomes 1."""

BRIGHTEST = 1.2
"""Largest value."""

FEWEST = 4
"""Fewest images."""


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


def folder(
    source: Path, out: Path, suffix: str, shape: Sequence[int], spacing: float
) -> tuple[Path, Path | None, int]:
    """Prepare the images of a BIDS folder; of five participants one is held out.

    Parameters
    ----------
    source, out : Path
        BIDS folder, and folder of the run.
    suffix : str
        BIDS suffix of the images.
    shape, spacing : sequence of int, float
        As for :func:`prepare`.

    Returns
    -------
    tuple of Path, Path or None, int
        Arrays for training and validation, and the number of training images.

    Raises
    ------
    UsageError
        If there are too few images.
    """
    found = files_below(source, f"sub-*_{suffix}.nii", f"sub-*_{suffix}.nii.gz")
    found = [path for path in found if path.relative_to(source).parts[0].startswith("sub-")]
    if len(found) < FEWEST:
        reason = f"{len(found)} images sub-*_{suffix} are too few to learn from"
        raise UsageError(source, reason, f"Give a BIDS folder of {FEWEST} or more, better of hundreds")
    people = sorted({path.name.split("_")[0] for path in found})
    kept = set(people[HELD_OUT::EVERY])
    parts: dict[str, list[Path]] = {"training": [], "validation": []}
    for path in found:
        parts["validation" if path.name.split("_")[0] in kept else "training"].append(path)
    out.mkdir(parents=True, exist_ok=True)
    made: dict[str, Path] = {}
    for name, paths in parts.items():
        if paths:
            made[name] = out / f"{name}.npz"
            listed = [f"{list(shape)} {spacing}", *(f"{path} {path.stat().st_size}" for path in paths)]
            make_if_changed(
                made[name],
                listed,
                f"{len(paths)} images",
                lambda path, p=paths: prepare(p, path, shape, spacing),
            )
    return made["training"], made.get("validation"), len(parts["training"])
