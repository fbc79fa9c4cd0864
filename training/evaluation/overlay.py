"""Predictions over images, as arrays of color."""

from __future__ import annotations

import numpy as np
from torch import Tensor

PREDICTED, TRUE, AGREED = (220, 40, 40), (40, 180, 60), (230, 200, 60)
"""Colors of voxels that are labeled in the prediction alone, in the truth alone, and differently in both."""


def overlay(image: Tensor, predicted: Tensor, truth: Tensor) -> np.ndarray:
    """Return three slices with the disagreement of two label images: red predicted, green true, yellow other.

    Parameters
    ----------
    image : Tensor, shape (X, Y, Z)
        Intensities.
    predicted, truth : Tensor of int, shape (X, Y, Z)
        Labels.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        The middle slices along the three axes, side by side.
    """
    planes = []
    labeled = truth > 0 if bool((truth > 0).any()) else predicted >= 0
    for axis in range(3):
        area = labeled.sum(tuple(a for a in range(3) if a != axis))
        at = int(area.argmax())
        cut = [one.select(axis, at).numpy() for one in (image, predicted.long(), truth.long())]
        planes.append(_colored(*(np.rot90(one) for one in cut)))
    height = max(plane.shape[0] for plane in planes)
    padded = [np.pad(plane, ((0, height - plane.shape[0]), (0, 0), (0, 0))) for plane in planes]
    return np.concatenate(padded, 1)


def _colored(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, [1, 99.5])
    gray = (np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255)[..., None].repeat(3, -1)
    wrong = predicted != truth
    for color, where in (
        (PREDICTED, wrong & (truth == 0)),
        (TRUE, wrong & (predicted == 0)),
        (AGREED, wrong & (predicted > 0) & (truth > 0)),
    ):
        gray[where] = 0.35 * gray[where] + 0.65 * np.array(color)
    return gray.astype(np.uint8)
