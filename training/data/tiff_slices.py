"""Images of slices as TIFF files: one folder a case, with masks ``NAME_k_mask.tif`` beside ``NAME_k.tif``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...models.errors import InputError
from ...models.geometry.volume import Volume

MASK = "_mask.tif"
"""Ending of the file with the mask of a slice."""

BRIGHT = 127
"""Value above which a mask of one label is inside, where it has no values but 0 and 255."""


def is_case(folder: Path) -> bool:
    """Return whether a folder has slices with masks."""
    return any(folder.glob(f"*{MASK}"))


def read(folder: Path) -> tuple[list[Volume], Volume]:
    """Return the channels of a case and its labels, both as volumes of 1 mm, for slices have no geometry.

    Parameters
    ----------
    folder : Path
        Folder with slices; their number is the last part of the name.

    Returns
    -------
    list of Volume
        One volume for each channel; rows run to the back, columns to the left, slices upwards.
    Volume
        Labels; a mask of 0 and 255 has the label 1.

    Raises
    ------
    InputError
        If a slice is missing or cannot be read.
    """
    masks = sorted(folder.glob(f"*{MASK}"), key=_number)
    images, labels = [], []
    for mask in masks:
        path = mask.with_name(mask.name.removesuffix(MASK) + ".tif")
        try:
            values = np.asarray(Image.open(path))
            truth = np.asarray(Image.open(mask))
        except FileNotFoundError:
            raise InputError(
                mask, f"there is no slice {path.name} for it", "Add it, or remove the mask"
            ) from None
        except OSError as error:
            raise InputError(path, f"the slice cannot be read ({error})", "Fetch it again") from None
        images.append(values if values.ndim == 3 else values[..., None])
        labels.append(truth[..., 0] if truth.ndim == 3 else truth)
    if len({one.shape for one in images}) > 1 or len({one.shape for one in labels}) > 1:
        raise InputError(folder, "the slices have different sizes", "Give slices of one size")
    stack = np.stack(images, -1)  # rows, columns, channels, slices
    values = np.stack(labels, -1)
    if values.max() > 1 and len(np.unique(values)) <= 2:
        values = values > BRIGHT
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = [(stack.shape[1] - 1) / 2, (stack.shape[0] - 1) / 2, -(stack.shape[3] - 1) / 2]
    channels = [
        Volume(torch.from_numpy(stack[:, :, k].transpose(1, 0, 2).astype(np.float32).copy()), affine)
        for k in range(stack.shape[2])
    ]
    return channels, Volume(torch.from_numpy(values.transpose(1, 0, 2).astype(np.int32).copy()), affine)


def _number(path: Path) -> int:
    text = path.name.removesuffix(MASK).rpartition("_")[2]
    if not text.isdigit():
        raise InputError(path, "its name has no number of the slice", f"Name slices NAME_1{MASK} and so on")
    return int(text)
