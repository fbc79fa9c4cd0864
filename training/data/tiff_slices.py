"""Images of slices as TIFF files: one folder a case, with masks ``NAME_k_mask.tif`` beside ``NAME_k.tif``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from ...models.errors import InputError
from ...models.geometry.volume import Volume
from ...models.io import atomic

MASK = "_mask.tif"
"""Ending of the file with the mask of a slice."""

BRIGHT = 127
"""Value above which a mask of one label is inside, where it has no values but 0 and 255."""

DARKEST = 0.12
"""Least intensity of the head, relative to the 98th percentile."""


def is_case(folder: Path) -> bool:
    """Return whether a folder has slices with masks."""
    return any(folder.glob(f"*{MASK}"))


def slices(folder: Path) -> list[Path]:
    """Return the slices of a folder in their order, without masks; empty if there are none.

    Raises
    ------
    InputError
        If the name of a file has no number.
    """
    return sorted((path for path in folder.glob("*.tif") if not path.name.endswith(MASK)), key=_number)


def mask_of(path: Path) -> Path:
    """Return the file of the mask of a slice."""
    return path.with_name(path.name.removesuffix(".tif") + MASK)


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
    paths = [mask.with_name(mask.name.removesuffix(MASK) + ".tif") for mask in masks]
    for path, mask in zip(paths, masks, strict=True):
        if not path.is_file():
            raise InputError(mask, f"there is no slice {path.name} for it", "Add it, or remove the mask")
    return channels(paths), labels(masks)


def channels(paths: Sequence[Path]) -> list[Volume]:
    """Return one volume of 1 mm for each channel of slices; see :func:`read`.

    Raises
    ------
    InputError
        If a slice cannot be read, or they have different sizes.
    """
    planes = [plane if plane.ndim == 3 else plane[..., None] for plane in map(_plane, paths)]
    stack = _stacked(planes, paths)  # rows, columns, channels, slices
    affine = _affine(stack.shape[0], stack.shape[1], stack.shape[3])
    values = [stack[:, :, k].transpose(1, 0, 2).astype(np.float32).copy() for k in range(stack.shape[2])]
    return [Volume(torch.from_numpy(one), affine) for one in values]


def of_contrasts(
    found: Sequence[Volume], wanted: Sequence[str], path: Path, channel: int = 0
) -> list[Volume]:
    """Return the channels that a network of some contrasts sees.

    Parameters
    ----------
    found : sequence of Volume
        All channels.
    wanted : sequence of str
        Contrasts of the network.
    path : Path
        Folder of the slices, for the error message.
    channel : int
        Channel for a network of one contrast, from 1; 0 for the second of three (FLAIR in the LGG
        Segmentation data set), or the only one.

    Returns
    -------
    list of Volume
        One for each contrast; of several, the first channels.

    Raises
    ------
    InputError
        If there are too few channels, or the one is not known.
    """
    if len(wanted) > len(found):
        reason = f"the slices have {len(found)} channels, and the network {len(wanted)} contrasts"
        raise InputError(path, reason, f"It needs {', '.join(wanted)}")
    if len(wanted) > 1:
        return list(found[: len(wanted)])
    if not channel and len(found) in (1, 3):
        channel = (len(found) + 1) // 2
    if not 1 <= channel <= len(found):
        reason = f"the slices have {len(found)} channels, and the network sees one"
        raise InputError(path, reason, f"Choose one of 1 to {len(found)}; brainseg lesion has --channel")
    return [found[channel - 1]]


def labels(paths: Sequence[Path]) -> Volume:
    """Return the masks of slices as labels of 1 mm; see :func:`read`.

    Raises
    ------
    InputError
        If a mask cannot be read, or they have different sizes.
    """
    planes = [plane[..., 0] if plane.ndim == 3 else plane for plane in map(_plane, paths)]
    values = _stacked(planes, paths)
    if values.max() > 1 and len(np.unique(values)) <= 2:
        values = values > BRIGHT
    found = torch.from_numpy(values.transpose(1, 0, 2).astype(np.int32).copy())
    return Volume(found, _affine(*values.shape))


def write_masks(mask: np.ndarray, paths: Sequence[Path], folder: Path) -> None:
    """Write a mask as one TIFF file (0 and 255) for each slice, on the slice's own pixels.

    Parameters
    ----------
    mask : ndarray, shape (X, Y, Z)
        Mask on the grid of :func:`channels`.
    paths : sequence of Path
        The slices.
    folder : Path
        Folder to write to, ``NAME_k_mask.tif``.
    """
    for k, path in enumerate(paths):
        plane = np.where(mask[..., k].T > 0, 255, 0).astype(np.uint8)
        with atomic.replacing(folder / mask_of(path).name, keep_extension=True) as temporary:
            Image.fromarray(plane).save(temporary)


def bright(image: Volume) -> Tensor:
    """Return the head of an image without geometry: all that is not dark, shape (X, Y, Z)."""
    level = DARKEST * float(np.percentile(image.data.numpy(), 98))
    return torch.from_numpy(ndimage.binary_fill_holes((image.data > level).numpy()))


def _plane(path: Path) -> np.ndarray:
    try:
        return np.asarray(Image.open(path))
    except OSError as error:
        raise InputError(path, f"the slice cannot be read ({error})", "Fetch it again") from None


def _stacked(planes: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
    if len({plane.shape for plane in planes}) > 1:
        raise InputError(
            paths[0].parent, "the slices have different sizes", "Give slices of one size, all with one mask"
        )
    return np.stack(planes, -1)


def _affine(rows: int, columns: int, count: int) -> np.ndarray:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = [(columns - 1) / 2, (rows - 1) / 2, -(count - 1) / 2]
    return affine


def _number(path: Path) -> int:
    text = path.name.removesuffix(MASK).removesuffix(".tif").rpartition("_")[2]
    if not text.isdigit():
        ending = MASK if path.name.endswith(MASK) else ".tif"
        raise InputError(path, "its name has no number of the slice", f"Name slices NAME_1{ending} and so on")
    return int(text)
