"""Slices of the LGG Segmentation data set (Buda et al. 2019) as volumes.

The slices have no geometry. It is estimated: the head is 200 mm long, and the slices are 3 mm apart where
there are many, otherwise they span 150 mm. This is accurate enough for training and overlaps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...models.geometry.volume import Volume

HEAD_MM, SPAN_MM = 200.0, 150.0
"""Length of a head, and height of the slices (mm)."""
FLAIR = 1
"""Channel of the FLAIR image."""


def read(folder: Path, count: int) -> tuple[Volume, Volume]:
    """Return FLAIR image and lesions of a patient.

    Parameters
    ----------
    folder : Path
        Folder with slices ``NAME_k.tif`` and ``NAME_k_mask.tif``.
    count : int
        Number of slices.
    """
    slices = sorted(folder.glob("*_mask.tif"), key=lambda path: int(path.stem.split("_")[-2]))
    image, truth = [], []
    for path in slices:
        truth.append(np.asarray(Image.open(path)) > 127)
        image.append(np.asarray(Image.open(path.with_name(path.name.replace("_mask", ""))))[..., FLAIR])
    # Rows run to the back, columns to the left, slices upwards.
    data, lesions = (np.stack(found, -1).transpose(1, 0, 2) for found in (image, truth))
    affine = geometry(data)
    to_tensor = lambda values, kind: torch.from_numpy(np.ascontiguousarray(values.astype(kind)))  # noqa: E731
    return Volume(to_tensor(data, np.float32), affine), Volume(to_tensor(lesions, np.uint8), affine)


def geometry(data: np.ndarray) -> np.ndarray:
    """Return the affine (4, 4) of slices, estimated from the length of the head.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        FLAIR image; rows run to the back, columns to the left, slices upwards.
    """
    count = data.shape[2]
    bright = data[..., count // 2 : max(count // 2 + 1, int(0.8 * count))] > 0.12 * np.percentile(data, 98)
    rows = np.flatnonzero((bright.mean(0) > 0.05).any(1))
    length = max(int(np.ptp(rows)) if rows.size else 0, 1)
    size = float(np.clip(HEAD_MM / length, 0.75, 1.0))
    step = 3.0 if count >= 50 else float(np.clip(SPAN_MM / count, 2.5, 7.5))
    affine = np.diag([-size, -size, step, 1.0])
    affine[:3, 3] = np.array([size * data.shape[0], size * data.shape[1], -step * count]) / 2
    return affine
